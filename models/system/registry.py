# SPDX-License-Identifier: Apache-2.0
"""A folder as a registry: each of its modules, at any depth, may end in a tuple of records."""

import difflib
import importlib
import re
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import modules_below


def records_in(package: ModuleType, name: str) -> list[tuple[str, Any]]:
    """Return the records in the tuples of that name in every module of a package, each with the name of its module.

    A module registers by binding the name at its top level; one that does not is not imported.
    """
    modules = [
        importlib.import_module(".".join((package.__name__, *path.relative_to(folder).with_suffix("").parts)))
        for folder in map(Path, package.__path__)
        for path in modules_below(folder)
        if _binds(path, name)
    ]
    return [(module.__name__, record) for module in modules for record in getattr(module, name)]


def _binds(path: Path, name: str) -> bool:
    # Hundreds of files are looked through at each start: most do not hold the name at all.
    source = path.read_bytes()
    return name.encode() in source and re.search(rf"^{name}\b *[:=]", source.decode(), re.MULTILINE) is not None


def refuse_unknown(names: Iterable[str], known: Iterable[str], what: str) -> None:
    """Refuse a name that is not registered.

    Raises:
        EdgeError: says which, and the closest name or all there are.
    """
    there = list(known)
    unknown = sorted(set(names) - set(there))
    if unknown:
        raise EdgeError("EF-name-unknown", f"{unknown[0]!r} is not a {what}{did_you_mean(unknown[0], there)}.")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return the end of a sentence that refuses a name: the closest known one, and all of them."""
    there = list(known)
    close = difflib.get_close_matches(name, there, 1)
    hint = f"; did you mean {close[0]!r}? There are" if close else "; there are"
    return f"{hint} {', '.join(there)}" if there else "; there are none"


def closest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is closest to one, where one is close."""
    return next(iter(difflib.get_close_matches(name, list(known), 1)), None)
