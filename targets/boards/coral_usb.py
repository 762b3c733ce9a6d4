# SPDX-License-Identifier: Apache-2.0
"""A Coral USB Accelerator plugged into this machine.

libedgetpu and the TF Lite runtime must be of the same time: Google's library of 2021 crashes newer runtimes.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from edgeferry.targets.boards.tflite_runtime import BOARDS, SCORES, as_run, run_on_device
from edgeferry.targets.host.installed import file_identity
from edgeferry.targets.target import Job, Run, Target

# Another library file than the installed one, and another Python than that of .venv-tflite-2.5.
LIBRARY: Final = "EDGEFERRY_LIBEDGETPU"
PYTHON: Final = "EDGEFERRY_EDGETPU_PYTHON"
PLACES: Final = {
    "linux": ("usr/lib/*/libedgetpu.so.1", "usr/lib/libedgetpu.so.1", "usr/local/lib/libedgetpu.so.1"),
    "darwin": ("usr/local/lib/libedgetpu.1.dylib", "opt/local/lib/libedgetpu.1.dylib", "opt/homebrew/lib/libedgetpu.1.dylib"),
}


def missing() -> str | None:
    """Return why no USB Accelerator is used, or None; whether one is plugged in shows in the run."""
    if _library() is None:
        named = os.environ.get(LIBRARY)
        absent = f"{LIBRARY} names {named}, which does not exist" if named else "libedgetpu is not installed here"
        return f"{absent}: the Debian package libedgetpu1-std (coral.ai) installs it"
    if os.environ.get(PYTHON):
        return None if _python().is_file() else f"{PYTHON} names {_python()}, which does not exist; install a Python with TF Lite"
    return BOARDS.missing()


def _run(job: Job) -> Run:
    delegate = {"library": str(_library()), "options": {"device": "usb"}}
    result = run_on_device(job, _python(), delegate=delegate)
    return as_run(job, result, (job.work / SCORES).read_bytes())


def _library() -> Path | None:
    named = os.environ.get(LIBRARY)
    found = [Path(named)] if named else [path for place in PLACES.get(sys.platform, ()) for path in sorted(Path("/").glob(place))]
    return next((path.absolute() for path in found if path.is_file()), None)


def _python() -> Path:
    named = os.environ.get(PYTHON)
    return Path(named) if named else BOARDS.python


def _versions() -> Mapping[str, str]:
    library = _library()
    return {"libedgetpu": file_identity(str(library) if library else None), "python": str(_python())}


TARGETS = (
    Target(
        name="edgetpu-usb",
        summary="a Coral USB Accelerator here",
        reads=frozenset({"edgetpu"}),
        missing=missing,
        run=_run,
        versions=_versions,
        by_default=False,
    ),
)
