# SPDX-License-Identifier: Apache-2.0
"""The runtimes of boards and phones, each in a folder laid out like a virtual environment, with a program per processor.

Below ``.arm/`` of a checkout: ``roots/`` hold Debian's Python for another architecture, ``qemu/`` the emulators, each other
folder a runtime. ``bin/<processor>`` there runs the runtime's Python on that processor.
"""

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest, sha256_of, whole_folder, write_json, write_whole
from edgeferry.models.system.packages import versions_of
from edgeferry.models.system.places import ROOT
from edgeferry.targets.arm.processors import ARM, CORTEX_A7, CORTEX_A53, CORTEX_A72, CORTEX_A76, NEOVERSE_N1, Processor
from edgeferry.targets.arm.roots import PROGRAMS, Root, describe_processor, ended_in_time

HERE: Final = Path(__file__).parent
FOLDER: Final = ROOT / ".arm"
QEMU: Final = FOLDER / "qemu"
ROOTS: Final = FOLDER / "roots"
CHECKER: Final = HERE / "check_processor.py"
KNOWN: Final = HERE / "known.tflite"
KNOWN_ANSWERS: Final = HERE / "known_answers.json"
CODE: Final = "EF-arm-processor"
# Kernels round differently by at most so many steps of 255.
MOST_STEPS: Final = 1
LONGEST_S: Final = 300
PYTHON: Final = ("python3-minimal", "libpython3-stdlib", "libstdc++6", "libgcc-s1")
BOOKWORM: Final = Root("bookworm", "arm64", PYTHON)
BULLSEYE: Final = Root("bullseye", "arm64", PYTHON)
BULLSEYE_32: Final = Root("bullseye", "armhf", (*PYTHON, "python3-numpy"))
# Where Debian's numpy finds the libraries that its packages' scripts would link.
# A Python that is emulated cannot start itself again; where this variable is set, it starts the program that it names.
PROGRAM: Final = "ARM_PROGRAM"
SITE: Final = f'import os, sys; sys.executable = os.environ.get("{PROGRAM}", sys.executable)\n'
LIBRARIES: Final = "/usr/lib/arm-linux-gnueabihf/blas:/usr/lib/arm-linux-gnueabihf/lapack"


@dataclass(frozen=True)
class ArmRuntime:
    """A runtime for ARM: ``lock`` names its wheels with their digests, ``platforms`` the tags of wheels that it runs."""

    name: str
    root: Root
    python: str
    platforms: tuple[str, ...]
    processors: tuple[Processor, ...]
    answers: bool = True

    @property
    def folder(self) -> Path:
        """Return its folder."""
        return FOLDER / self.name

    @property
    def lock(self) -> Path:
        """Return the file that names its wheels."""
        return HERE / f"{self.name.replace('-', '_').replace('.', '_')}.lock"

    @property
    def site(self) -> Path:
        """Return the folder of its packages."""
        return self.folder / "lib" / f"python{self.python}" / "site-packages"

    def program(self, processor: Processor) -> Path:
        """Return the program that runs its Python on a processor."""
        return self.folder / "bin" / processor.qemu

    def versions(self) -> Mapping[str, str]:
        """Return the versions that its results depend on, without starting it."""
        return versions_of("ai-edge-litert", "tflrt", "tflite-runtime", "onnxruntime", "numpy", below=self.site)

    def record(self, processor: Processor) -> Path:
        """Return the file that says what a processor was checked with."""
        return self.folder / f"checked-{processor.qemu}.json"


RUNTIMES: Final = (
    ArmRuntime("tflite-2.5", BULLSEYE, "3.9", ("manylinux2014_aarch64", "manylinux_2_17_aarch64"), (CORTEX_A53,)),
    ArmRuntime(
        "litert",
        BOOKWORM,
        "3.11",
        ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"),
        (CORTEX_A53, CORTEX_A72, CORTEX_A76),
    ),
    ArmRuntime(
        "onnxruntime",
        BOOKWORM,
        "3.11",
        ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64"),
        (NEOVERSE_N1,),
        answers=False,
    ),
    ArmRuntime("tflite-armv7", BULLSEYE_32, "3.9", ("manylinux2014_armv7l", "linux_armv7l"), (CORTEX_A7,)),
)


def emulator(architecture: str) -> Path | None:
    """Return QEMU's program for an architecture: this system's, or the one that was set up; None where there is neither."""
    found = shutil.which(PROGRAMS[architecture]) or shutil.which(PROGRAMS[architecture].removesuffix("-static"))
    own = QEMU / PROGRAMS[architecture]
    return own if own.is_file() else Path(found) if found else None


def install(runtime: ArmRuntime) -> None:
    """Install a runtime's wheels below its folder, and a program for each of its processors, whole or not at all.

    Raises:
        EdgeError: a wheel cannot be had, or is not the one that was locked.
    """
    qemu = emulator(runtime.root.architecture)
    assert qemu is not None, "QEMU is set up before the runtimes"  # noqa: S101 - for the type checker
    with whole_folder(runtime.folder) as place:
        site = place / runtime.site.relative_to(runtime.folder)
        _install_wheels(runtime, site)
        (place / "bin").mkdir()
        root = ROOTS / runtime.root.name
        (place / "bin" / "python").symlink_to(root / "usr" / "bin" / f"python{runtime.python}")
        has_numpy = runtime.root is BULLSEYE_32
        write_whole(
            place / "pyvenv.cfg", f"home = {root}/usr/bin\ninclude-system-site-packages = {'true' if has_numpy else 'false'}\n"
        )
        write_whole(site / "edgeferry.pth", SITE)
        for processor in runtime.processors:
            _write_program(runtime, processor, place, qemu)


def _write_program(runtime: ArmRuntime, processor: Processor, place: Path, qemu: Path) -> None:
    """Write the program that runs Python on a processor, and the root that it sees: Debian's, and the processor's own facts."""
    root, own = ROOTS / runtime.root.name, f"root-{processor.qemu}"
    (place / own).mkdir()
    for part in ("bin", "etc", "lib", "lib64", "usr"):
        if (root / part).exists():
            (place / own / part).symlink_to(root / part)
    describe_processor(processor, place / own)
    variables = {PROGRAM: runtime.program(processor), "LD_LIBRARY_PATH": LIBRARIES}
    passed = " ".join(f'-E "{name}={value}"' for name, value in variables.items())
    command = f'"{qemu}" -L "{runtime.folder / own}" {passed} -cpu {processor.qemu} "{runtime.folder}/bin/python"'
    program = place / "bin" / processor.qemu
    write_whole(program, f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)


def _install_wheels(runtime: ArmRuntime, site: Path) -> None:
    platforms = [part for each in runtime.platforms for part in ("--platform", each)]
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--require-hashes"]
    how = ["--only-binary=:all:", "--no-compile", "--ignore-requires-python", "--implementation", "cp"]
    what = ["--python-version", runtime.python, *platforms, "--target", str(site), "-r", str(runtime.lock)]
    ended = ended_in_time([*command, *how, *what], LONGEST_S)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.startswith("ERROR:")] or ["pip failed"]
        raise EdgeError("EF-arm-setup", f"{runtime.lock.name}: {lines[-1].removeprefix('ERROR: ')}")


def check(runtime: ArmRuntime, processor: Processor) -> None:
    """Run a program on an emulated processor, and record that it is the one that was asked for, and answers rightly.

    Raises:
        EdgeError: it is another processor, or computes something else: a QEMU with faults, such as ``-cpu max`` of QEMU 7.2.
    """
    command: list[str | Path] = [runtime.program(processor), "-E", "-s", CHECKER, *([KNOWN] if runtime.answers else [])]
    ended = ended_in_time(command, LONGEST_S)
    try:
        found = json.loads(ended.stdout)
    except ValueError:
        lines = ended.stderr.strip().splitlines()
        said = lines[-1] if lines else f"it ended with status {ended.returncode}"
        raise EdgeError(CODE, f"{processor.qemu}: nothing runs on it: {said}. A newer QEMU may help.") from None
    if problem := problem_of(found, processor):
        raise EdgeError(CODE, f"{processor.qemu}: {problem}. Use another version of QEMU.")
    write_json(runtime.record(processor), {"key": key_of(runtime, processor), **found})


def problem_of(found: Mapping[str, Any], processor: Processor) -> str:
    """Return what is wrong with what a processor said, or nothing."""
    if found["machine"] != processor.machine:
        return f"QEMU emulates a processor of {found['machine']}; expected {processor.machine}"
    expected = None if processor.part is None else {"implementer": ARM, "part": processor.part}
    if found["main_id"] != expected:
        return f"QEMU emulates another processor, {found['main_id']}; expected {expected}"
    if found["answers"] is None:
        return ""
    known = json.loads(KNOWN_ANSWERS.read_text(encoding="utf-8"))["answers"]
    steps = [
        abs(one - other)
        for mine, right in zip(found["answers"], known, strict=True)
        for one, other in zip(mine, right, strict=True)
    ]
    if max(steps) <= MOST_STEPS:
        return ""
    return (
        f"it computes wrongly: an answer to a known question is off by {max(steps)} of 255 steps; expected at most {MOST_STEPS}"
    )


def key_of(runtime: ArmRuntime, processor: Processor) -> str:
    """Return the digest of what a check of a processor holds for: emulator, program, runtime and question."""
    program, qemu = runtime.program(processor), emulator(runtime.root.architecture)
    if qemu is None or not program.is_file():
        return ""
    stat = qemu.stat()
    parts = {
        "qemu": [str(qemu), stat.st_size, stat.st_mtime_ns],
        "program": sha256_of(program),
        "versions": dict(runtime.versions()),
    }
    return digest(parts | {"question": [sha256_of(each) for each in (CHECKER, KNOWN, KNOWN_ANSWERS)]})


def is_checked(runtime: ArmRuntime, processor: Processor) -> bool:
    """Say whether a processor was checked with what is there now."""
    try:
        record = json.loads(runtime.record(processor).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(record.get("key")) and record["key"] == key_of(runtime, processor)
