# SPDX-License-Identifier: Apache-2.0
"""TensorFlow.js graph models in Node: the same JavaScript as in a browser, where there is none."""

import json
import shutil
from collections.abc import Mapping
from functools import partial
from typing import Final

from edgeferry.models.system.files import write_json
from edgeferry.targets.host.installed import file_identity
from edgeferry.targets.host.program import run_program
from edgeferry.targets.target import Job, Run, Target, Unsupported
from edgeferry.targets.web.javascript import CLIENT, SCORES, TFJS, hand_over, taken_back

BACKENDS: Final = {"wasm": "Node, by TensorFlow.js", "cpu": "Node, by TensorFlow.js in plain JavaScript"}


def _missing() -> str | None:
    if shutil.which("node") is None:
        return "node is not on PATH: install Node.js 18 or newer, then `make install`"
    return TFJS.missing()


def _versions() -> Mapping[str, str]:
    return {**TFJS.versions(), "node": file_identity(shutil.which("node"))}


def _run(job: Job, backend: str) -> Run:
    if job.threads != 1:
        raise Unsupported(f"TensorFlow.js runs on one thread in Node, not on {job.threads}: ask for one")
    described = hand_over(job, TFJS, backend)
    result = job.work / "result.json"
    write_json(job.work / "job.json", {**described, "folder": str(job.folder.resolve()), "result": result.name})
    # By its full path: the program is looked up on our PATH, not in the folder it runs in.
    run_program([shutil.which("node") or "node", CLIENT.resolve() / "node_main.js", "job.json"], job.work)
    return taken_back(job, json.loads(result.read_text(encoding="utf-8")), (job.work / SCORES).read_bytes)


TARGETS = tuple(
    Target(
        name=f"node-{backend}",
        summary=summary,
        reads=frozenset({"tfjs"}),
        missing=_missing,
        run=partial(_run, backend=backend),
        versions=_versions,
        # Up to a second an image: what TensorFlow.js falls back to, not what anybody ships.
        by_default=backend != "cpu",
    )
    for backend, summary in BACKENDS.items()
)
