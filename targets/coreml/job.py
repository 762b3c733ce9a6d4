# SPDX-License-Identifier: Apache-2.0
"""``python -m edgeferry.targets.coreml.job FOLDER``: the program that runs on a Mac over ssh.

It needs numpy, Pillow and coremltools there, and no installation of edgeferry.

The folder holds job.json, pixels.npy and the artifact; run.json and scores.npy are written into it.
"""

import json
import sys
import traceback
from pathlib import Path
from typing import Any

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_json, write_whole
from edgeferry.targets.coreml.ssh import written
from edgeferry.targets.target import Absent, Job, Run, Unsupported, targets


def run(folder: Path) -> None:
    """Run the job in a folder and write its result, or its error."""
    facts = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    name = facts.pop("target")
    try:
        record, scores = written(_run(name, Job(folder / "artifact", folder / "pixels.npy", folder / "work", **facts)))
        write_whole(folder / "scores.npy", scores)
    except Exception as error:  # noqa: BLE001 - any error is reported by the other side
        traceback.print_exc()
        record = {"schema": 2, "error": _described(error)}
    write_json(folder / "run.json", record)


def _run(name: str, job: Job) -> Run:
    target = targets()[name]
    if why := target.missing():
        raise Absent("EF-target-missing", why)
    job.work.mkdir(parents=True, exist_ok=True)
    return target.run(job)


def _described(error: Exception) -> dict[str, Any]:
    if isinstance(error, EdgeError):
        kind = next(each.__name__ for each in (Absent, Unsupported, EdgeError) if isinstance(error, each))
        return {"kind": kind, "code": error.code, "message": str(error)}
    return {"kind": type(error).__name__, "code": None, "message": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    run(Path(sys.argv[1]))
