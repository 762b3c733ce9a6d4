# SPDX-License-Identifier: Apache-2.0
"""TF Lite files on this machine's CPU, by tflite-runtime: the last release of the runtime that boards and containers still carry.

It needs numpy 1, so it lives in an environment of its own and is driven through device.py, the program that boards run too.
"""

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from models.files import write_json
from models.images import normalise
from targets.installed import versions_of
from targets.program import run_program
from targets.target import Job, Run, Target, Unsupported
from targets.tflite_file import delegate_told, dequantized, labels_in

HOUSE: Final = Path(__file__).parent
ENVIRONMENT: Final = HOUSE.parent / ".venv-tflite-runtime"
PYTHON_VARIABLE: Final = "EDGEFERRY_TFLITE_RUNTIME_PYTHON"
# The status of device.py when its result tells of an error.
TOLD: Final = 2
SUPPORTED: Final = "tflite-runtime 2.14 has wheels for Python 3.9 to 3.11 on Linux only"
# What a runtime says of an operation that is newer than itself, in the order tried.
TOO_NEW: Final = (
    (re.compile(r"Didn't find op for builtin opcode '(\w+)' version '(\d+)'"), "has no {0} version {1}; newer runtimes do"),
    (re.compile(r"[Oo]p builtin_code out of range: (\d+)"), "has no operation number {0}; newer runtimes do"),
    (re.compile(r"Encountered unresolved custom op: ([\w-]+)"), "has no operation {0}"),
)


def _python() -> Path:
    named = os.environ.get(PYTHON_VARIABLE)
    return Path(named) if named else ENVIRONMENT / "bin" / "python"


def _missing() -> str | None:
    python = _python()
    if PYTHON_VARIABLE in os.environ:
        return None if python.is_file() else f"{PYTHON_VARIABLE} names {python}, which is not there"
    if _versions().get("tflite-runtime"):
        return None
    return f"the environment {ENVIRONMENT.name} is absent: `make install` makes it where it finds a fitting Python ({SUPPORTED})"


def _versions() -> Mapping[str, str]:
    libraries = _python().parent.parent / "lib"
    return {
        name: version
        for folder in libraries.glob("python3*/site-packages")
        for name, version in versions_of("tflite-runtime", "tflrt", "numpy", below=folder).items()
    }


def _run(job: Job) -> Run:
    import numpy as np

    result = run_on_device(job, _python())
    environment = {
        **result["environment"],
        "threads": result["threads"],
        "delegate": delegate_told(result["delegate_partitions"]),
    }
    return Run(
        scores=dequantized(np.load(job.work / "scores.npy"), result["output"]),
        labels=labels_in(job.main_file),
        latencies_ms=tuple(result["latencies_ms"]),
        first_ms=result["first_ms"],
        load_ms=result["load_ms"],
        environment=environment,
    )


def run_on_device(job: Job, python: Path) -> dict[str, Any]:
    """Return what device.py reports of a job that it ran under another Python of this machine.

    Raises:
        Unsupported: the runtime there is too old for the file.
        RuntimeError: anything else went wrong there.
    """
    import numpy as np

    job.work.mkdir(parents=True, exist_ok=True)
    # A copy, because a script's own folder comes first on its path and targets/ holds names such as keras.
    shutil.copyfile(HOUSE / "device.py", job.work / "device.py")
    np.save(job.work / "images.npy", normalise(job.images(), job.artifact.preprocessing))
    files = {"model": str(job.main_file.resolve()), "images": "images.npy", "scores": "scores.npy", "result": "result.json"}
    write_json(job.work / "job.json", {**files, "warmup": job.warmup, "rounds": job.rounds, "threads": job.threads})
    (job.work / "result.json").unlink(missing_ok=True)
    # Made absolute without following links: a virtual environment's Python is one.
    run_program([python.absolute(), "-E", "-s", "device.py", "job.json"], job.work, may_end_with=(0, TOLD))
    return checked_result(job.work / "result.json")


def checked_result(path: Path) -> dict[str, Any]:
    """Return the report device.py wrote.

    Raises:
        Unsupported: the runtime there is too old for the file.
        RuntimeError: it tells of any other error.
    """
    result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if (error := result["error"]) is None:
        return result
    where = result.get("environment", {})
    for pattern, sentence in TOO_NEW:
        if found := pattern.search(error["message"]):
            name = "{runtime} {version}".format(**where).replace("_", "-")
            raise Unsupported(f"{name} {sentence.format(*found.groups())}")
    raise RuntimeError(f"{error['kind']}: {' '.join(error['message'].split())}")


TARGETS = (
    Target(
        name="tflite-runtime",
        summary="this CPU, by the older TF Lite runtime",
        reads=frozenset({"tflite"}),
        missing=_missing,
        run=_run,
        versions=_versions,
    ),
)
