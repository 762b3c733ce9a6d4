# SPDX-License-Identifier: Apache-2.0
"""TensorFlow.js graph models in Node: the same JavaScript as in a browser, for machines without one."""

import json
import shutil
from collections.abc import Mapping
from functools import partial
from typing import Final

from edgeferry.models.system.files import write_json
from edgeferry.targets.host.installed import file_identity
from edgeferry.targets.host.program import run_program
from edgeferry.targets.target import Job, Run, Target, Unsupported
from edgeferry.targets.web.javascript import CLIENT, SCORES, TFJS, describe_job, npm_installs, read_report
from edgeferry.targets.web.tensors import tensors

BACKENDS: Final = {"wasm": "Node, by TensorFlow.js", "cpu": "Node, by TensorFlow.js in plain JavaScript"}


def _missing() -> str | None:
    if shutil.which("node") is None:
        return f"node is not on PATH: install Node.js 18 or newer, then run {npm_installs()}"
    return TFJS.missing()


def _versions() -> Mapping[str, str]:
    return {**TFJS.versions(), "node": file_identity(shutil.which("node"))}


def _run(job: Job, backend: str) -> Run:
    if job.threads != 1:
        raise Unsupported("EF-web-threads", f"TensorFlow.js in Node runs on 1 thread; the job has {job.threads}: use 1")
    described = describe_job(job, TFJS, backend)
    result = job.work / "result.json"
    write_json(job.work / "job.json", {**described, "folder": str(job.folder.resolve()), "result": result.name})
    # By its full path: the program is searched on our PATH, not in the folder it runs in.
    run_program([shutil.which("node") or "node", CLIENT.resolve() / "node_main.js", "job.json"], job.work)
    return read_report(job, json.loads(result.read_text(encoding="utf-8")), (job.work / SCORES).read_bytes)


TARGETS = tuple(
    Target(
        name=f"node-{backend}",
        summary=summary,
        reads=frozenset({"tfjs"}),
        missing=_missing,
        run=partial(_run, backend=backend),
        versions=_versions,
        # Up to a second per image: TensorFlow.js's fallback, which nobody ships.
        by_default=backend != "cpu",
        side_by_side=True,
        tensors=tensors if backend == "wasm" else None,
    )
    for backend, summary in BACKENDS.items()
)
