# SPDX-License-Identifier: Apache-2.0
"""Edge TPU: what Google's closed compiler makes of the full-integer TF Lite file."""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Final

from exporters.format import Format, Written
from exporters.lint import lint
from exporters.runtimes import EDGETPU
from exporters.source import Source
from exporters.tflite import FILE as INT8_FILE
from exporters.tflite import read_tensors
from exporters.tflite_metadata import zip_of_labels
from models.artifact import Tolerance
from models.errors import EdgeError
from models.files import sha256_of, write_whole

PARENT: Final = "tflite-int8"
FILE: Final = "model_edgetpu.tflite"
CUSTOM_OPERATION: Final = b"edgetpu-custom-op"
TIMEOUT_S: Final = 600
LAST_LINES: Final = 6


def missing() -> str | None:
    """Return why nothing can be compiled here and where the compiler comes from, or None."""
    named = os.environ.get("EDGETPU_COMPILER")
    if named and not shutil.which(named):
        return f"EDGETPU_COMPILER names {named}, which is not a program"
    if named or shutil.which("edgetpu_compiler"):
        return None
    if os.environ.get("EDGETPU_COMPILER_IMAGE"):
        return None if _engine() else "EDGETPU_COMPILER_IMAGE is set, but neither docker nor podman is on PATH"
    return (
        "edgetpu_compiler is not on PATH. It is Google's, for x86-64 Debian only (package edgetpu-compiler, coral.ai); "
        "set EDGETPU_COMPILER to the program, or EDGETPU_COMPILER_IMAGE to a container image that holds it"
    )


def compile_(source: Source, folder: Path) -> Written:
    """Compile the full-integer artifact beside this one.

    Raises:
        EdgeError: the file cannot run on an Edge TPU; or the compiler fails, takes too long, or maps nothing: in its own words.
    """
    parent = folder.parent / PARENT / INT8_FILE
    if not parent.is_file():
        raise EdgeError(f"{PARENT} is what it is compiled from, and it was not exported")
    _refuse_what_cannot_run(parent)
    shutil.copyfile(parent, folder / "model.tflite")
    version = _run(folder, "-v")
    log = _run(folder, "-s", "-o", ".", "model.tflite")
    (folder / "model.tflite").unlink()
    if not (folder / FILE).is_file():
        raise EdgeError(f"edgetpu_compiler wrote nothing: {_last_words(log)}")
    compiled = (folder / FILE).read_bytes()
    if CUSTOM_OPERATION not in compiled:
        raise EdgeError("edgetpu_compiler mapped no operation to the Edge TPU; its log is in export.log")
    write_whole(folder / FILE, compiled + zip_of_labels(source.spec.labels))
    write_whole(folder / "compiler.log", log)
    inputs, outputs = read_tensors(compiled)
    return Written(FILE, inputs, outputs, options={"compiler": version.strip(), "parent_sha256": sha256_of(parent)})


def _refuse_what_cannot_run(parent: Path) -> None:
    errors = lint(parent, EDGETPU).errors
    if errors:
        first = errors[0]
        more = f" (and {len(errors) - 1} more: `python -m exporters lint {parent} --for edgetpu`)" if len(errors) > 1 else ""
        raise EdgeError(f"{PARENT} cannot run on an Edge TPU: {first.operation} {first.layer}, {first.found}; {first.fix}{more}")


def _run(folder: Path, *arguments: str) -> str:
    command = [*_command(folder), *arguments]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)  # noqa: S603 - the user names the compiler
    except subprocess.TimeoutExpired:
        raise EdgeError(f"edgetpu_compiler took longer than {TIMEOUT_S} s and was ended") from None
    except OSError as error:
        raise EdgeError(f"{command[0]} cannot be run: {error.strerror}") from None
    log = done.stdout + done.stderr
    print(log)  # noqa: T201 - into export.log
    if done.returncode != 0:
        raise EdgeError(f"edgetpu_compiler ended with status {done.returncode}: {_last_words(log)}")
    return log


def _command(folder: Path) -> list[str]:
    program = os.environ.get("EDGETPU_COMPILER") or shutil.which("edgetpu_compiler")
    if program:
        return [program]
    image = os.environ.get("EDGETPU_COMPILER_IMAGE", "")
    return [
        _engine() or "docker",
        "run",
        "--rm",
        "--platform",
        "linux/amd64",
        "-v",
        f"{folder}:/work",
        "-w",
        "/work",
        image,
        "edgetpu_compiler",
    ]


def _engine() -> str | None:
    return shutil.which("docker") or shutil.which("podman")


def _last_words(log: str) -> str:
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    return " / ".join(lines[-LAST_LINES:]) or "it said nothing"


FORMATS = (
    Format(
        "edgetpu-int8",
        "edgetpu",
        "Edge TPU, compiled from tflite-int8",
        Tolerance(0.97, 0.40, 0.08, "the integers of tflite-int8; the Edge TPU differs from them by at most one step"),
        compile_,
        ("tensorflow-cpu", "tensorflow"),
        calibrated=True,
        after=PARENT,
        missing=missing,
    ),
)
