# SPDX-License-Identifier: Apache-2.0
"""Which modules of edgeferry a module imports, directly or through others, and one digest of all their sources.

What an exporter wrote follows from its own modules alone: neither rewording a report nor adding another format makes it stale.
Imports are found in the text, functions included, without importing anything; those for type checkers only are left out.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Final

from edgeferry.models.system.files import digest, sha256_of
from edgeferry.models.system.places import PACKAGE_FILE, ROOT

PACKAGE: Final = "edgeferry"
FOR_TYPES: Final = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.MULTILINE)
IMPORT: Final = re.compile(
    r"^[ \t]*(?:from (edgeferry(?:\.\w+)*) import (\([^)]*\)|[^\n]+)|import (edgeferry(?:\.\w+)*))", re.MULTILINE
)
NAME: Final = re.compile(r"(\w+)(?:\s+as\s+\w+)?")


class CodeDigests:
    """Digests of modules with all that they import; each source is read once."""

    def __init__(self, sha256: Callable[[Path], str] = sha256_of) -> None:
        """``sha256`` returns the digest of a file."""
        self._sha256 = sha256
        self._imports: dict[str, tuple[str, ...]] = {}

    def of(self, *modules: str) -> str:
        """Return one digest of the modules and all modules of edgeferry that they import, by name and content."""
        return digest([[name, self._sha256(_file_of(name))] for name in sorted(self.closure(modules))])

    def closure(self, modules: Iterable[str]) -> set[str]:
        """Return the names of the modules and of all that they import of edgeferry, packages included."""
        found: set[str] = set()
        waiting = list(modules)
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self._imported(name)
        return found

    def _imported(self, name: str) -> tuple[str, ...]:
        if name not in self._imports:
            self._imports[name] = tuple(dict.fromkeys(_imported(name)))
        return self._imports[name]


def _imported(name: str) -> Iterator[str]:
    if "." in name:
        yield name.rpartition(".")[0]
    source = FOR_TYPES.sub("", _file_of(name).read_text(encoding="utf-8"))
    for package, names, module in IMPORT.findall(source):
        if module:
            yield module
            continue
        yield package
        submodules = (f"{package}.{each}" for each in NAME.findall(names))
        yield from (each for each in submodules if _exists(each))


def _exists(module: str) -> bool:
    return _path_of(module).with_suffix(".py").is_file() or (_path_of(module) / "__init__.py").is_file()


def _file_of(module: str) -> Path:
    if module == PACKAGE:
        return PACKAGE_FILE
    file = _path_of(module).with_suffix(".py")
    return file if file.is_file() else _path_of(module) / "__init__.py"


def _path_of(module: str) -> Path:
    """Return where a module is, without suffix; ``edgeferry.commands`` is next to the package's own file."""
    inner = module.split(".")[1:]
    root = PACKAGE_FILE.parent if inner[:1] == ["commands"] or inner[:1] == ["__main__"] else ROOT
    return root.joinpath(*inner)
