# SPDX-License-Identifier: Apache-2.0
"""A folder as a registry: each of its modules may end in a tuple of records."""

import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from models.errors import EdgeError


def records_in(package: ModuleType, name: str, *, but: Iterable[str] = ()) -> list[Any]:
    """Return the records of every module of a package, ``name`` being that of the tuples that hold them."""
    left_out = {"__main__", *but}
    modules = [
        importlib.import_module(f"{package.__name__}.{each.name}")
        for each in pkgutil.iter_modules(package.__path__)
        if each.name not in left_out
    ]
    return [record for module in modules for record in getattr(module, name, ())]


def refuse_unknown(names: Iterable[str], known: Mapping[str, object], what: str) -> None:
    """Refuse a name that is not registered.

    Raises:
        EdgeError: says which, and what there is.
    """
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise EdgeError(f"{unknown[0]!r} is not a {what}; there are {', '.join(known)}.")
