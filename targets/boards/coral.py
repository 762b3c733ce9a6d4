# SPDX-License-Identifier: Apache-2.0
"""A Coral board over ssh: its CPU, and its Edge TPU.

The board runs device.py and times itself. Files are copied there once, under their digests; a job continues while the connection
is lost, and its result is kept there under the digest of everything that it depends on, so that neither a dropped connection nor
the end of this program loses it.
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
from edgeferry.targets.boards.tflite_runtime import SCORES, as_run, checked
from edgeferry.targets.host.installed import is_checkout
from edgeferry.targets.host.ssh import Connection, RefusedError
from edgeferry.targets.litert.tflite_file import quantized
from edgeferry.targets.target import Absent, Job, Run, Target

HERE: Final = Path(__file__).parent
# The board, as ssh names it; the Python there; the folder for files there, below the home folder unless absolute.
BOARD: Final = "EDGEFERRY_CORAL"
EXAMPLE: Final = "mendel@192.168.100.2"
PYTHON: Final = "EDGEFERRY_CORAL_PYTHON"
FOLDER: Final = "EDGEFERRY_CORAL_FOLDER"
# Set, the board measures again even where it has a result.
REMEASURE: Final = "EDGEFERRY_CORAL_REMEASURE"
# Another library than the one that the board's loader finds.
LIBRARY: Final = "EDGEFERRY_LIBEDGETPU"
# The shell's status of a program that does not exist.
NO_PROGRAM: Final = 127
# The status of device.py when a job ended without a result.
NO_RESULT: Final = 3
ABOUT: Final = 'cd -- "$1" && exec "$2" files/"$3" "$4"'
ATTACH: Final = 'cd -- "$1" && exec "$2" ../../files/"$3" attach job.json "$4" "$5"'


def missing() -> str | None:
    """Return why no board is used, or None; whether it can be reached shows in the run."""
    if os.environ.get(BOARD):
        return None
    how = f"`make bench-coral HOST={EXAMPLE}`, or set {BOARD}" if is_checkout() else f"set {BOARD}={EXAMPLE}"
    return f"no board is named: {how}; install tflite_runtime there, and libedgetpu for its Edge TPU"


def library() -> str:
    """Return the Edge TPU library's name as a loader takes it."""
    return os.environ.get(LIBRARY) or "libedgetpu.so.1"


def run_on_board(job: Job, *, edgetpu: bool) -> Run:
    """Return the run of a job by a board, or its earlier run; then ``kept`` is in its environment.

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
        "scores": SCORES,
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
        **({"before": about["now"], "after": board.now()} if result["asked_by"] == board.request else {"kept": True}),
    }
    return as_run(job, result, scores)


class _Board:
    """The board that the environment names; the first call connects."""

    def __init__(self) -> None:
        self.connection = Connection(os.environ[BOARD])
        self.request = uuid.uuid4().hex
        self._python = os.environ.get(PYTHON) or "python3"
        # A shell does not expand a quoted tilde; a relative path is below the home folder.
        self._folder = (os.environ.get(FOLDER) or ".cache/edgeferry").removeprefix("~/").rstrip("/")

    def about(self) -> dict[str, Any]:
        """Return the output of about_device.py.

        Raises:
            Absent: there is no Python, no numpy or no TF Lite runtime.
        """
        about = self._about("all")
        if about["error"]:
            message = about["error"]["message"]
            raise Absent(
                "EF-tflite-runtime-missing",
                f"{about['error']['kind']}: {self._python} on {self.connection.destination} has no TF Lite runtime with numpy "
                f"({message}): `sudo apt-get install python3-tflite-runtime` there, or {PYTHON} names another Python",
            )
        return about

    def now(self) -> dict[str, Any]:
        """Return the part of it that changes from moment to moment."""
        return self._about("now")

    def _about(self, part: str) -> dict[str, Any]:
        program = self.put(HERE / "about_device.py")
        about: dict[str, Any] = json.loads(self._call(ABOUT, self._folder, self._python, program, part))
        return about

    def put(self, path: Path) -> str:
        """Copy a file to the board unless it is there, and return its name there, its digest."""
        name, folder = sha256_of(path), f"{self._folder}/files"
        there = self._call('[ ! -f "$1" ] || sha256sum <"$1"', f"{folder}/{name}").split()
        if there[:1] != [name.encode()]:
            try:
                self.connection.put(path, folder, name)
            except RefusedError as error:
                raise Absent(
                    "EF-board-not-writable",
                    f"{path.name} cannot be written to {folder} on {self.connection.destination}: {error}. "
                    f"Free some space there, or set {FOLDER} to another folder",
                ) from None
        return name

    def run(self, facts: Mapping[str, Any], environment: Mapping[str, Any], work: Path) -> tuple[dict[str, Any], bytes]:
        """Return a job's result and the bytes of its scores, new or kept there from an equal job."""
        program = self.put(HERE / "device.py")
        folder = f"{self._folder}/jobs/{digest([program, facts, environment])[:32]}"
        write_json(work / "job.json", facts)
        try:
            self.connection.put(work / "job.json", folder, "job.json")
            keep = "again" if os.environ.get(REMEASURE) else "keep"
            self.connection.call(ATTACH, folder, self._python, program, self.request, keep)
            result: dict[str, Any] = checked(json.loads(self.connection.fetch(f"{folder}/result.json")))
            scores = self.connection.fetch(f"{folder}/scores.npy")
        except RefusedError as error:
            if error.status != NO_RESULT:
                raise Absent("EF-board-command", f"{folder} on {self.connection.destination}: {error}") from None
            log = self.connection.call('tail -n 1 -- "$1/device.log"', folder).decode("utf-8", "replace").strip()
            raise Absent(
                "EF-board-no-result",
                f"the board wrote no result: {log or 'device.py printed nothing'} ({folder}/device.log there)",
            ) from None
        if sha256(scores).hexdigest() != result["scores_sha256"]:
            where = f"{folder}/scores.npy on {self.connection.destination}"
            raise Absent("EF-transfer-damaged", f"{where} is not what the board wrote; remove the folder there")
        return result, scores

    def _call(self, script: str, *arguments: str) -> bytes:
        try:
            return self.connection.call(script, *arguments)
        except RefusedError as error:
            if error.status == NO_PROGRAM:
                where = f"{self._python} is not installed on {self.connection.destination}"
                raise Absent("EF-board-python", f"{where}; {PYTHON} names another") from None
            raise Absent("EF-board-command", f"{self.connection.destination}: {error}") from None


def _images(job: Job) -> Path:
    """Write the golden images as the artifact takes them and return the file; integers take a quarter of the bytes."""
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


TARGETS = tuple(
    Target(
        name=name,
        summary=f"a Coral board's {unit}, over ssh",
        reads=frozenset({kind}),
        missing=missing,
        run=partial(run_on_board, edgetpu=kind == "edgetpu"),
        versions=_versions,
        by_default=False,
    )
    for name, unit, kind in (("coral-cpu", "CPU", "tflite"), ("coral-edgetpu", "Edge TPU", "edgetpu"))
)
