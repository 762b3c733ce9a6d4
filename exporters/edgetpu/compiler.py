# SPDX-License-Identifier: Apache-2.0
"""Finds, identifies and runs Google's closed-source Edge TPU compiler.

Nothing is ever downloaded: the user provides the program, or the container image that has it.
"""

import csv
import io
import os
import shutil
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from edgeferry.exporters.edgetpu.log import last_words, parse_log
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of
from edgeferry.models.system.subprocesses import Ended, run_tool

NAME: Final = "edgetpu_compiler"
PROGRAM_VARIABLE: Final = "EDGETPU_COMPILER"
IMAGE_VARIABLE: Final = "EDGETPU_COMPILER_IMAGE"
# Google's package installs a script of three lines that starts the program in this folder next to it.
BUNDLE: Final = "edgetpu_compiler_bin"
QUERY_S: Final = 60.0
# Inside the container.
WORK: Final = "/work"


@dataclass(frozen=True)
class Compiler:
    """Identity of a compiler: ``sha256`` is that of the program, or the id of the container image."""

    version: str
    sha256: str
    image: str | None


def missing() -> str | None:
    """Return why there is no compiler on this machine and how to get it, or None where there is one."""
    named, image = os.environ.get(PROGRAM_VARIABLE), os.environ.get(IMAGE_VARIABLE)
    if named and image:
        return f"{PROGRAM_VARIABLE} and {IMAGE_VARIABLE} are both set; unset one of them"
    if named:
        return None if shutil.which(named) else f"{PROGRAM_VARIABLE} names {named}, which is not a program"
    if image:
        return _missing_image(image)
    if shutil.which(NAME):
        return None
    return (
        f"{NAME} is not on PATH. Google provides it for x86-64 Debian only (package edgetpu-compiler, coral.ai); "
        f"set {PROGRAM_VARIABLE} to the program, or {IMAGE_VARIABLE} to a container image that has it"
    )


def identity() -> str:
    """Return the sha256 of the compiler's program, or the id of its image, without running it."""
    image = os.environ.get(IMAGE_VARIABLE)
    return _image_id(image)[0] if image else _sha256_of_program(Path(_program()))


def find_compiler() -> Compiler:
    """Return the compiler on this machine.

    Raises:
        EdgeError: there is none, or the program is not Google's compiler.
    """
    if why := missing():
        raise EdgeError("EF-edgetpu-compiler-missing", why)
    image = os.environ.get(IMAGE_VARIABLE)
    with TemporaryDirectory(prefix="edgeferry-") as folder:
        ended = run_compiler(Path(folder), ("-v",), QUERY_S)
    version = parse_log(ended.output).version
    if ended.how or not version:
        found = f"{image or _program()} is not Google's compiler: with -v it {ended.how or 'printed'}: {last_words(ended.output)}"
        raise EdgeError("EF-edgetpu-compiler-unknown", f"{found}; expected 'Edge TPU Compiler version ...'")
    return Compiler(version, identity(), image or None)


def run_compiler(folder: Path, arguments: Sequence[str], timeout_s: float) -> Ended:
    """Return how the compiler ended in a folder, and its output.

    Raises:
        EdgeError: it cannot be started.
    """
    image, engine = os.environ.get(IMAGE_VARIABLE), _engine()
    if not image or engine is None:
        return run_tool([_program(), *arguments], folder, timeout_s)
    name = f"edgeferry-{uuid.uuid4().hex}"
    container = [engine, "run", "--name", name, *_confined(folder, engine), "--entrypoint", NAME, image]
    return run_tool([*container, *arguments], folder, timeout_s, (engine, "kill", name))


def _missing_image(image: str) -> str | None:
    engine = _engine()
    if engine is None:
        return f"{IMAGE_VARIABLE} is set, but neither docker nor podman is on PATH"
    found, message = _image_id(image)
    if found:
        return None
    lacks = f"{IMAGE_VARIABLE} names {image}, which {Path(engine).name} does not have ({message})"
    return f"{lacks}; build or pull it: edgeferry downloads nothing"


def _image_id(image: str) -> tuple[str, str]:
    """Return an image's sha256, or '' and the engine's error."""
    command = [str(_engine()), "image", "inspect", "--format", "{{.Id}}", image]
    try:
        done = subprocess.run(command, capture_output=True, timeout=QUERY_S, check=False)  # noqa: S603 - the user names the image
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        return "", str(error)
    printed = (done.stdout or done.stderr).decode("utf-8", "replace").strip()
    found = printed.removeprefix("sha256:") if done.returncode == 0 else ""
    return found, last_words(done.stderr.decode("utf-8", "replace"))


def _engine() -> str | None:
    return shutil.which("docker") or shutil.which("podman")


def _program() -> str:
    # Absolute, since it runs in another folder; a link is kept, since Google's script looks next to itself.
    return str(Path(shutil.which(os.environ.get(PROGRAM_VARIABLE) or NAME) or NAME).absolute())


def _sha256_of_program(program: Path) -> str:
    places = (program.parent / BUNDLE / NAME, program.resolve().parent / BUNDLE / NAME)
    return sha256_of(next((place for place in places if place.is_file()), program))


def _confined(folder: Path, engine: str) -> list[str]:
    """Return the options that confine a container to one folder, as the user who started it."""
    own = ["--user", f"{os.getuid()}:{os.getgid()}"]
    if Path(engine).name == "podman":
        # Without it that user id inside maps to another one outside.
        own = ["--userns", "keep-id", *own]
    here = ["--rm", "--pull", "never", "--platform", "linux/amd64", "--network", "none"]
    return [*here, *own, "--mount", _mount(folder), "--workdir", WORK]


def _mount(folder: Path) -> str:
    # The engines read it as a line of CSV, so a comma in a folder's name needs quotes.
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", f"source={folder}", f"target={WORK}"])
    return line.getvalue()
