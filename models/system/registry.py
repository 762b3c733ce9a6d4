# SPDX-License-Identifier: Apache-2.0
"""A folder as a registry: each of its modules, at any depth, may end in a tuple of records."""

import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import modules_below


def records_in(package: ModuleType, name: str) -> list[Any]:
    """Return the records of every module of a package, ``name`` being that of the tuples that hold them.

    A module registers by binding the name at its top level; one that does not is not imported.
    """
    modules = [
        importlib.import_module(".".join((package.__name__, *path.relative_to(folder).with_suffix("").parts)))
        for folder in map(Path, package.__path__)
        for path in modules_below(folder)
        if _binds(path, name)
    ]
    return [record for module in modules for record in getattr(module, name)]


def _binds(path: Path, name: str) -> bool:
    return any(line.startswith((f"{name} =", f"{name}:")) for line in path.read_text(encoding="utf-8").splitlines())


def refuse_unknown(names: Iterable[str], known: Mapping[str, object], what: str) -> None:
    """Refuse a name that is not registered.

    Raises:
        EdgeError: says which, and what there is.
    """
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise EdgeError(f"{unknown[0]!r} is not a {what}; there are {', '.join(known)}.")
