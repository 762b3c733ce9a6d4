# SPDX-License-Identifier: Apache-2.0
"""Environments of their own, for packages that do not go with edgeferry's: where each one's Python is, and what is in it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeferry.models.system.packages import versions_of
from edgeferry.models.system.places import ROOT


@dataclass(frozen=True)
class Environment:
    """The folder of an environment in a checkout, the command that makes it, and the Pythons that its wheels are for.

    ``packages`` are the distributions one of which it is made for, ``others`` those that results depend on as well.
    """

    folder: str
    made_by: str
    wheels: str
    packages: tuple[str, ...]
    others: tuple[str, ...] = ("numpy",)

    @property
    def variable(self) -> str:
        """Return the name of the environment variable that names another Python."""
        return f"EDGEFERRY{self.folder.removeprefix('.venv').replace('-', '_').replace('.', '_').upper()}_PYTHON"

    @property
    def python(self) -> Path:
        """Return the Python that has the package."""
        named = os.environ.get(self.variable)
        return Path(named) if named else ROOT / self.folder / "bin" / "python"

    def missing(self) -> str | None:
        """Return why nothing can run in it, or None."""
        if self.variable in os.environ:
            return None if self.python.is_file() else f"{self.variable} names {self.python}, which does not exist: install it"
        if set(self.versions()) & set(self.packages):
            return None
        if not (ROOT / "Makefile").is_file():
            return (
                f"{self.variable} is not set: install {self.packages[0]} in its own environment ({self.wheels}), name its python"
            )
        return f"there is no environment {self.folder}: `{self.made_by}` installs it, given a suitable Python ({self.wheels})"

    def versions(self) -> Mapping[str, str]:
        """Return the versions that its results depend on, without starting it."""
        return {
            name: version
            for folder in (self.python.parent.parent / "lib").glob("python3*/site-packages")
            for name, version in versions_of(*self.packages, *self.others, below=folder).items()
        }


# For the exporter of its format and the target that runs it.
OPENVINO: Final = Environment(".venv-openvino", "make setup-openvino", "Python 3.11 to 3.13", ("openvino",))
