# SPDX-License-Identifier: Apache-2.0
"""``python -m edgeferry.targets.coreml.job FOLDER``: what runs on a Mac over ssh.

It needs numpy, Pillow and coremltools there, and no installation.

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
    """Run the job in a folder and write its result, or why there is none."""
    facts = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    name = facts.pop("target")
    try:
        told, scores = written(_run(name, Job(folder / "artifact", folder / "pixels.npy", folder / "work", **facts)))
        write_whole(folder / "scores.npy", scores)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side tells it
        traceback.print_exc()
        told = {"schema": 1, "error": {"kind": _kind(error), "message": _said(error)}}
    write_json(folder / "run.json", told)


def _run(name: str, job: Job) -> Run:
    target = targets()[name]
    if why := target.missing():
        raise Absent(why)
    job.work.mkdir(parents=True, exist_ok=True)
    return target.run(job)


def _kind(error: Exception) -> str:
    return next((kind.__name__ for kind in (Absent, Unsupported, EdgeError) if isinstance(error, kind)), type(error).__name__)


def _said(error: Any) -> str:
    return str(error) if isinstance(error, EdgeError) else f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    run(Path(sys.argv[1]))
