# SPDX-License-Identifier: Apache-2.0
"""Folders with the programs of another processor, unpacked from Debian's packages; no rights of root are needed."""

import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import whole_folder
from edgeferry.targets.arm.processors import Processor

SOURCES: Final = Path("/etc/apt/sources.list.d")
OLD_SOURCES: Final = Path("/etc/apt/sources.list")
INDEX: Final = re.compile(r"^(?:URIs:|deb(?: \[[^]]*\])?)\s+(\S+/debian)/?\s*", re.MULTILINE)
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
EMULATORS: Final = "qemu-user-static"
# Its programs, by Debian's name of the architecture.
PROGRAMS: Final = {"arm64": "qemu-aarch64-static", "armhf": "qemu-arm-static"}
CODE: Final = "EF-arm-setup"
LONGEST_S: Final = 900
# What cpuinfo, a library in LiteRT and ONNX Runtime, reads; without it they end in a segmentation fault. How many processors
# there are, it reads below /sys.
CPUINFO: Final = """\
processor\t: 0
BogoMIPS\t: 125.00
Features\t: {features}
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x0
CPU part\t: {part:#05x}
CPU revision\t: 1

"""
CPUS: Final = ("possible", "present", "online")


@dataclass(frozen=True)
class Root:
    """A release of Debian for one kind of processor; ``packages`` are what a Python with wheels needs of it."""

    suite: str
    architecture: str
    packages: tuple[str, ...]

    @property
    def name(self) -> str:
        """Return the name of its folder."""
        return f"{self.suite}-{self.architecture}"


def make_root(root: Root, folder: Path) -> None:
    """Download the packages of a root and unpack them to a folder, whole or not at all.

    Raises:
        EdgeError: this system has no apt, or its package index has no such packages.
    """
    with tempfile.TemporaryDirectory(prefix="edgeferry-apt-") as scratch, whole_folder(folder) as place:
        options = _own_apt(root, Path(scratch))
        _run(["apt-get", *options, "update", "-qq"])
        _run(["apt-get", *options, "install", "-y", "-qq", "--download-only", *root.packages])
        for package in sorted(Path(scratch).glob("cache/archives/*.deb")):
            _run(["dpkg", "-x", str(package), str(place)])


def make_emulators(folder: Path) -> None:
    """Download QEMU and put its programs for ARM processors into a folder; the package has those of thirty others too."""
    with tempfile.TemporaryDirectory(prefix="edgeferry-apt-") as scratch, whole_folder(folder) as place:
        _run(["apt-get", "download", "-qq", EMULATORS], Path(scratch))
        _run(["dpkg", "-x", str(next(Path(scratch).glob("*.deb"))), scratch])
        for program in PROGRAMS.values():
            shutil.copy2(Path(scratch) / "usr" / "bin" / program, place / program)


def describe_processor(processor: Processor, folder: Path) -> None:
    """Write what Linux says of a processor into a root."""
    (folder / "proc").mkdir(exist_ok=True)
    (folder / "proc" / "cpuinfo").write_text(
        CPUINFO.format(features=processor.features, part=processor.part or 0), encoding="ascii"
    )
    cpus = folder / "sys" / "devices" / "system" / "cpu"
    cpus.mkdir(parents=True, exist_ok=True)
    for name in CPUS:
        (cpus / name).write_text("0\n", encoding="ascii")


def _own_apt(root: Root, scratch: Path) -> list[str]:
    """Return the options under which apt works in a folder of its own, for another release and architecture."""
    for each in ("lists/partial", "cache/archives/partial", "etc"):
        (scratch / each).mkdir(parents=True)
    (scratch / "status").touch()
    (scratch / "etc" / "sources.list").write_text(f"deb [signed-by={KEYRING}] {_mirror()} {root.suite} main\n", encoding="utf-8")
    settings = {
        "APT::Architecture": root.architecture,
        "APT::Architectures::": root.architecture,
        "APT::Install-Recommends": "0",
        "APT::Sandbox::User": "",
        "Debug::NoLocking": "1",
        "Dir::Cache": scratch / "cache",
        "Dir::Etc::preferencesparts": "/dev/null",
        "Dir::Etc::sourcelist": scratch / "etc" / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": scratch,
        "Dir::State::lists": scratch / "lists",
        "Dir::State::status": scratch / "status",
    }
    return [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]


def _mirror() -> str:
    """Return the address of Debian's packages that this system itself uses.

    Raises:
        EdgeError: it is no Debian.
    """
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None or not KEYRING.is_file():
        raise EdgeError(
            CODE, "ARM processors are set up from Debian's packages, and this system has no apt with Debian's keys; use Debian."
        )
    texts = [file.read_text(encoding="utf-8") for file in (*SOURCES.glob("*.sources"), *SOURCES.glob("*.list")) if file.is_file()]
    texts += [OLD_SOURCES.read_text(encoding="utf-8")] if OLD_SOURCES.is_file() else []
    found: list[str] = [each for text in texts for each in INDEX.findall(text)]
    if not found:
        raise EdgeError(CODE, f"{OLD_SOURCES} and {SOURCES} name no package index of Debian; expected one that ends in /debian.")
    return found[0]


def ended_in_time(
    command: Sequence[str | Path], longest_s: int, folder: Path | None = None
) -> "subprocess.CompletedProcess[str]":
    """Return a program's end and what it printed.

    Raises:
        EdgeError: it took too long.
    """
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=longest_s, check=False)  # noqa: S603
    except subprocess.TimeoutExpired:
        raise EdgeError(CODE, f"{Path(command[0]).name} took longer than {longest_s} s and was ended; try again.") from None


def _run(command: Sequence[str], folder: Path | None = None) -> None:
    ended = ended_in_time(command, LONGEST_S, folder)
    if ended.returncode:
        lines = [line for line in ended.stderr.splitlines() if line.startswith("E:")] or ended.stderr.splitlines()
        raise EdgeError(CODE, f"{command[0]} failed: {lines[-1] if lines else f'status {ended.returncode}'}")
