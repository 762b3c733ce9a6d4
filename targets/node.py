# SPDX-License-Identifier: Apache-2.0
"""TensorFlow.js graph models in Node, on its wasm backend: the same JavaScript as in a browser, where there is none."""

import json
import shutil

from models.files import write_json
from targets.installed import file_told
from targets.program import run_program
from targets.target import Job, Run, Target, Unsupported
from targets.tfjs import SCORES, WEB, hand_over, packages, packages_missing, taken_back


def _missing() -> str | None:
    if shutil.which("node") is None:
        return "node is not on PATH: install Node.js 18 or newer, then `make install`"
    return packages_missing()


def _run(job: Job) -> Run:
    if job.threads != 1:
        raise Unsupported(f"TensorFlow.js's wasm backend runs on one thread in Node, not on {job.threads}: ask for one")
    described = hand_over(job)
    result = job.work / "result.json"
    write_json(job.work / "job.json", {**described, "folder": str(job.folder.resolve()), "result": result.name})
    # By its full path: the program is looked up on our PATH, not in the folder it runs in.
    run_program([shutil.which("node") or "node", WEB.resolve() / "node_main.js", "job.json"], job.work)
    report = json.loads(result.read_text(encoding="utf-8"))
    return taken_back(job, report, (job.work / SCORES).read_bytes())


TARGETS = (
    Target(
        name="node-wasm",
        summary="Node, by TensorFlow.js",
        reads=frozenset({"tfjs"}),
        missing=_missing,
        run=_run,
        versions=lambda: {**packages(), "node": file_told(shutil.which("node"))},
    ),
)
