# SPDX-License-Identifier: Apache-2.0
"""Expensive fixtures kept between runs and shared by the workers of one run: trained networks and whole exports.

An entry is a folder named after what it is and the digest of everything it follows from, so that a change of any of it makes
another one. It is whole or absent, made by one process while others wait, and handed out as a copy: a test may spoil its own.
"""

import fcntl
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path
from typing import Any, Final

from edgeferry.models.system.files import digest, files_below, sha256_of, whole_folder

# The branch in work and the one it is compared with.
KEPT: Final = 2


@dataclass(frozen=True)
class FixtureCache:
    """A folder of entries."""

    folder: Path

    def copy(self, name: str, follows_from: Any, make: Callable[[Path], None], to: Path) -> Path:
        """Return ``to``, a new folder with a copy of the entry ``name`` for this ``follows_from``.

        ``make(folder)`` fills an empty folder where there is no such entry yet.
        """
        entry = self.folder / f"{name}-{digest(follows_from)[:16]}"
        with self._locked(name):
            if not entry.is_dir():
                with whole_folder(entry) as place:
                    make(place)
            os.utime(entry)
            shutil.copytree(entry, to, dirs_exist_ok=True)
            self._remove_old(name)
        return to

    @contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / f"{name}.lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _remove_old(self, name: str) -> None:
        entries = [each for each in self.folder.glob(f"{name}-*") if each.name.rpartition("-")[0] == name]
        for entry in sorted(entries, key=lambda each: each.stat().st_mtime, reverse=True)[KEPT:]:
            shutil.rmtree(entry)


def digests_of(*paths: Path) -> dict[str, str]:
    """Return the sha256 of every file named or below a folder named, by its path."""
    files = [
        file for path in paths for file in (files_below(path) if path.is_dir() else [path]) if "node_modules" not in file.parts
    ]
    return {str(Path(os.path.relpath(file, Path(__file__).parents[2]))): sha256_of(file) for file in files}


def versions() -> dict[str, str]:
    """Return the version of Python and of everything installed, edgeferry apart: its code counts by itself."""
    found = {each.metadata["Name"]: each.version for each in distributions() if each.metadata["Name"] != "edgeferry"}
    return {"python": sys.version, **found}
