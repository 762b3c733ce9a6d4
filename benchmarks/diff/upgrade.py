# SPDX-License-Identifier: Apache-2.0
"""The same model exported with another version of one package, in an environment of its own.

The environment holds the packages that change, and takes all others from the one that runs this: what differs between the two
builds is that package and what it needs in another version.
"""

import os
import re
import subprocess
import sys
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import whole_folder
from edgeferry.models.system.places import PACKAGE_FILE
from edgeferry.models.system.terminal import Step

REQUIREMENT: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)={1,2}([A-Za-z0-9][A-Za-z0-9.!+_-]*)")
# What a name stands for on Linux, where edgeferry installs the build without CUDA.
ON_LINUX: Final = {"tensorflow": "tensorflow-cpu"}
INSTALL_TIMEOUT_S: Final = 1800.0
EXPORT_TIMEOUT_S: Final = 3 * 3600.0
LINES_SHOWN: Final = 5


@dataclass(frozen=True)
class Upgrade:
    """A package and the version to export with."""

    package: str
    version: str

    def __str__(self) -> str:
        return f"{self.package}=={self.version}"


def upgrade_of(text: str) -> Upgrade:
    """Return what ``NAME=VERSION`` asks for.

    Raises:
        EdgeError: it is not written so.
    """
    found = REQUIREMENT.fullmatch(text)
    if found is None:
        raise EdgeError("EF-upgrade", f"--upgrade {text!r}: expected a package and its version, as in coremltools=9.0.")
    name = found[1].lower()
    return Upgrade(ON_LINUX.get(name, name) if sys.platform == "linux" else name, found[2])


def environment_with(upgrade: Upgrade, below: Path, step: Step) -> Path:
    """Return the Python of an environment with the upgrade; one that is there already is used again.

    Raises:
        EdgeError: the index has no such version, or it cannot be installed here.
    """
    place = below / f"{upgrade.package}-{upgrade.version}"
    python = place / "bin" / "python"
    if python.exists():
        return python
    step(f"installing {upgrade} in an environment of its own")
    with whole_folder(place) as partial:
        venv.create(partial, symlinks=True, with_pip=False)
        (site,) = partial.glob("lib/python*/site-packages")
        others = [each for each in map(Path, sys.path) if each.name in {"site-packages", "dist-packages"} and each.is_dir()]
        (site / "others.pth").write_text("".join(f"{each}\n" for each in others), encoding="utf-8")
        pip = [sys.executable, "-m", "pip", "--python", str(partial / "bin" / "python"), "--disable-pip-version-check"]
        _run([*pip, "install", "--quiet", str(upgrade)], f"installing {upgrade}", INSTALL_TIMEOUT_S)
    return python


def export_with(python: Path, config: Path, build: Path, formats: tuple[str, ...]) -> None:
    """Export a model's formats below a build folder, by the Python of an environment.

    Raises:
        EdgeError: the export ended before it began; formats that fail are part of its result.
    """
    chosen = [word for name in formats for word in ("--format", name)]
    command = [str(python), "-m", "edgeferry", "-q", "export", str(config), "--build", str(build), *chosen]
    _run(command, f"exporting {config}", EXPORT_TIMEOUT_S, statuses=(0, 1))


def _run(command: list[str], what: str, timeout_s: float, statuses: tuple[int, ...] = (0,)) -> None:
    # The same edgeferry on both sides, from a checkout or installed.
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_FILE.parent.parent)}
    try:
        done = subprocess.run(  # noqa: S603 - pip, or this very program
            command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired:
        raise EdgeError("EF-upgrade", f"{what} took more than {timeout_s / 60:.0f} minutes, and was ended.") from None
    if done.returncode not in statuses:
        said = "; ".join(done.stderr.strip().splitlines()[-LINES_SHOWN:])
        raise EdgeError("EF-upgrade", f"{what} failed (status {done.returncode}): {said}")
