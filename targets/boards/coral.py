# SPDX-License-Identifier: Apache-2.0
"""A Coral board over ssh: its CPU, and its Edge TPU.

The board runs device.py and times itself. What it needs is copied there once, under its digest; a job goes on while the
connection is away, and its result is kept there under the digest of all that it depends on, so that neither a dropped connection
nor the end of this program loses one.
"""

import json
import os
import uuid
from collections.abc import Mapping
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.files import digest, sha256_of, write_json
from edgeferry.targets.boards.tflite_runtime import as_run, checked
from edgeferry.targets.host.ssh import Connection, RefusedError
from edgeferry.targets.litert.tflite_file import quantized
from edgeferry.targets.target import Absent, Job, Run, Target

HERE: Final = Path(__file__).parent
# Which board, as ssh names it; which Python there; where its files go, below the home folder unless absolute.
BOARD: Final = "EDGEFERRY_CORAL"
PYTHON: Final = "EDGEFERRY_CORAL_PYTHON"
FOLDER: Final = "EDGEFERRY_CORAL_FOLDER"
# Set, it has the board measure again what it holds a result of.
ANEW: Final = "EDGEFERRY_CORAL_ANEW"
# Another library than that which the board's loader finds.
LIBRARY: Final = "EDGEFERRY_LIBEDGETPU"
# The shell's status of a program that is not there.
NO_PROGRAM: Final = 127
# The status of device.py when a job ended without a result.
NO_RESULT: Final = 3
ABOUT: Final = 'cd -- "$1" && exec "$2" files/"$3" "$4"'
ATTACH: Final = 'cd -- "$1" && exec "$2" ../../files/"$3" attach job.json "$4" "$5"'


def missing() -> str | None:
    """Return why no board is asked, or None; whether it answers is found out by the run."""
    if os.environ.get(BOARD):
        return None
    return (
        f"no board is named: `make bench-coral HOST=mendel@192.168.100.2` does, or {BOARD}; "
        "tflite_runtime must be installed there, and libedgetpu for its Edge TPU"
    )


def library() -> str:
    """Return the Edge TPU library's name as a loader takes it."""
    return os.environ.get(LIBRARY) or "libedgetpu.so.1"


def run_on_board(job: Job, *, edgetpu: bool) -> Run:
    """Return what a board makes of a job, or made of it before: then its environment says ``kept``.

    Raises:
        Absent: it cannot be reached, or lacks something.
        Unsupported: its runtime is too old for the file.
        EdgeError: it refused the file, or crashed.
    """
    board = _Board()
    about = board.about()
    images = _images(job)
    facts = {
        "model": f"../../files/{board.put(job.main_file)}",
        "images": f"../../files/{board.put(images)}",
        "scores": "scores.npy",
        "result": "result.json",
        "warmup": job.warmup,
        "settle_s": job.settle_s,
        "rounds": job.rounds,
        "threads": job.threads,
        "delegate": {"library": library(), "options": {}} if edgetpu else None,
    }
    result, scores = board.run(facts, about["environment"], job.work)
    result["environment"] = {
        "host": board.connection.destination,
        **about["environment"],
        **result["environment"],
        "usb": about["usb"],
        "pycoral": about["pycoral"],
        **({"before": about["now"], "after": board.now()} if result["asked_by"] == board.asker else {"kept": True}),
    }
    return as_run(job, result, scores)


class _Board:
    """The board that the environment names, reached when first asked."""

    def __init__(self) -> None:
        self.connection = Connection(os.environ[BOARD])
        self.asker = uuid.uuid4().hex
        self._python = os.environ.get(PYTHON) or "python3"
        # A shell does not expand a quoted tilde; a relative path is below the home folder.
        self._folder = (os.environ.get(FOLDER) or ".cache/edgeferry").removeprefix("~/").rstrip("/")

    def about(self) -> dict[str, Any]:
        """Return what about_device.py tells.

        Raises:
            Absent: there is no Python, no numpy or no TF Lite runtime.
        """
        name = self.put(HERE / "about_device.py")
        told: dict[str, Any] = json.loads(self._ask(ABOUT, self._folder, self._python, name, "all"))
        if told["error"]:
            message = told["error"]["message"]
            raise Absent(
                f"{told['error']['kind']}: {self._python} on {self.connection.destination} has no TF Lite runtime with numpy "
                f"({message}): `sudo apt-get install python3-tflite-runtime` there, or {PYTHON} names another Python"
            )
        return told

    def now(self) -> dict[str, Any]:
        """Return the part of it that may differ a moment later."""
        told: dict[str, Any] = json.loads(self._ask(ABOUT, self._folder, self._python, self.put(HERE / "about_device.py"), "now"))
        return told

    def put(self, path: Path) -> str:
        """Copy a file to the board unless it is there, and return the name it has there, its digest."""
        name, folder = sha256_of(path), f"{self._folder}/files"
        there = self._ask('[ ! -f "$1" ] || sha256sum <"$1"', f"{folder}/{name}").split()
        if there[:1] != [name.encode()]:
            try:
                self.connection.put(path, folder, name)
            except RefusedError as error:
                raise Absent(
                    f"{path.name} cannot be written to {folder} on {self.connection.destination}: {error}. "
                    f"Free some space there, or set {FOLDER} to another folder"
                ) from None
        return name

    def run(self, facts: Mapping[str, Any], environment: Mapping[str, Any], work: Path) -> tuple[dict[str, Any], bytes]:
        """Return a job's result and the bytes of its scores, its own or those kept there of an equal job."""
        program = self.put(HERE / "device.py")
        folder = f"{self._folder}/jobs/{digest([program, facts, environment])[:32]}"
        write_json(work / "job.json", facts)
        try:
            self.connection.put(work / "job.json", folder, "job.json")
            anew = "anew" if os.environ.get(ANEW) else "kept"
            self.connection.call(ATTACH, folder, self._python, program, self.asker, anew)
            result: dict[str, Any] = checked(json.loads(self.connection.fetch(f"{folder}/result.json")))
            scores = self.connection.fetch(f"{folder}/scores.npy")
        except RefusedError as error:
            if error.status != NO_RESULT:
                raise Absent(f"{folder} on {self.connection.destination}: {error}") from None
            log = self.connection.call('tail -n 1 -- "$1/device.log"', folder).decode("utf-8", "replace").strip()
            raise Absent(f"the board wrote no result: {log or 'device.py said nothing'} ({folder}/device.log there)") from None
        if sha256(scores).hexdigest() != result["scores_sha256"]:
            raise Absent(f"{folder}/scores.npy on {self.connection.destination} is not what the board wrote; remove the folder")
        return result, scores

    def _ask(self, script: str, *arguments: str) -> bytes:
        try:
            return self.connection.call(script, *arguments)
        except RefusedError as error:
            if error.status == NO_PROGRAM:
                raise Absent(f"there is no {self._python} on {self.connection.destination}; {PYTHON} names another") from None
            raise Absent(f"{self.connection.destination}: {error}") from None


def _images(job: Job) -> Path:
    """Write the golden images as the artifact takes them and return the file; integers are a quarter of the bytes."""
    import numpy as np

    values = normalise(job.images(), job.artifact.preprocessing)
    takes = job.artifact.inputs[0]
    job.work.mkdir(parents=True, exist_ok=True)
    path = job.work / "images.npy"
    if takes.scale is not None:
        tensor = {"dtype": takes.dtype, "quantization": (takes.scale, takes.zero_point)}
        np.save(path, quantized(values, tensor))
    else:
        np.save(path, values)
    return path


def _versions() -> Mapping[str, str]:
    names = (BOARD, PYTHON, FOLDER, LIBRARY)
    return {name: os.environ[name] for name in names if os.environ.get(name)}


TARGETS = (
    Target(
        name="coral-cpu",
        summary="a Coral board's CPU, over ssh",
        reads=frozenset({"tflite"}),
        missing=missing,
        run=partial(run_on_board, edgetpu=False),
        versions=_versions,
        by_default=False,
    ),
    Target(
        name="coral-edgetpu",
        summary="a Coral board's Edge TPU, over ssh",
        reads=frozenset({"edgetpu"}),
        missing=missing,
        run=partial(run_on_board, edgetpu=True),
        versions=_versions,
        by_default=False,
    ),
)
