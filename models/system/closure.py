# SPDX-License-Identifier: Apache-2.0
"""Which modules of edgeferry a module imports, directly or through others, and one digest of all their sources.

What an exporter wrote follows from its own modules alone: neither rewording a report nor adding another format makes it stale.
Imports are found in the text, functions included, without importing anything; those for type checkers only are left out.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Final

from edgeferry.models.system.files import digest, sha256_of
from edgeferry.models.system.places import PACKAGE_FILE, ROOT

PACKAGE: Final = "edgeferry"
FOR_TYPES: Final = re.compile(r"^if TYPE_CHECKING:\n(?:[ \t]+.*\n|\n)+", re.MULTILINE)
IMPORT: Final = re.compile(
    r"^[ \t]*(?:from (edgeferry(?:\.\w+)*) import (\([^)]*\)|[^\n]+)|import (edgeferry(?:\.\w+)*))", re.MULTILINE
)
INIT: Final = "__init__.py"
NAME: Final = re.compile(r"(\w+)(?:\s+as\s+\w+)?")


class CodeDigests:
    """Digests of modules with all that they import; each source is looked up and read once."""

    def __init__(self, sha256: Callable[[Path], str] = sha256_of) -> None:
        """``sha256`` returns the digest of a file."""
        self._sha256 = sha256
        self._imports: dict[str, tuple[str, ...]] = {}
        self._files: dict[str, Path | None] = {PACKAGE: PACKAGE_FILE}
        self._digests: dict[str, str] = {}

    def of(self, *modules: str) -> str:
        """Return one digest of the modules and all modules of edgeferry that they import, by name and content."""
        return digest([[name, self._digest(name)] for name in sorted(self.closure(modules))])

    def closure(self, modules: Iterable[str]) -> set[str]:
        """Return the names of the modules and of all that they import of edgeferry, packages included."""
        found: set[str] = set()
        # A record that was not made by a module of the registry names none.
        waiting = [name for name in modules if name]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.imports(name)
        return found

    def imports(self, name: str) -> tuple[str, ...]:
        """Return the names of what a module imports of edgeferry itself, and of the package it is in."""
        if name not in self._imports:
            self._imports[name] = tuple(dict.fromkeys(self._imported(name)))
        return self._imports[name]

    def _imported(self, name: str) -> Iterator[str]:
        if "." in name:
            yield name.rpartition(".")[0]
        source = self._source(name)
        for package, names, module in _imports_in(source, source.stat().st_mtime_ns):
            if module:
                yield module
                continue
            yield package
            # A package's names may be modules.
            if self._source(package).name == INIT:
                yield from (each for each in (f"{package}.{name}" for name in NAME.findall(names)) if self._file(each))

    def _digest(self, name: str) -> str:
        if name not in self._digests:
            self._digests[name] = self._sha256(self._source(name))
        return self._digests[name]

    def _source(self, module: str) -> Path:
        file = self._file(module)
        if file is None:
            raise ModuleNotFoundError(f"edgeferry has no module {module}", name=module)
        return file

    def _file(self, module: str) -> Path | None:
        if module not in self._files:
            path = _path_of(module)
            self._files[module] = next((each for each in (path.with_suffix(".py"), path / INIT) if each.is_file()), None)
        return self._files[module]


@cache
def _imports_in(source: Path, _changed_ns: int) -> list[tuple[str, str, str]]:
    """Return what a source imports of edgeferry, each as (package, its names, module); read again where the file changed."""
    return IMPORT.findall(FOR_TYPES.sub("", source.read_text(encoding="utf-8")))


def _path_of(module: str) -> Path:
    """Return where a module is, without suffix; ``edgeferry.commands`` is next to the package's own file."""
    inner = module.split(".")[1:]
    return (PACKAGE_FILE.parent if inner[0] in {"commands", "__main__"} else ROOT).joinpath(*inner)
