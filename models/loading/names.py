# SPDX-License-Identifier: Apache-2.0
"""Names of layers that TensorFlow cannot trace, such as 'größe' or 'my layer', replaced by names that it can."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

from edgeferry.models.audit.finding import some_of
from edgeferry.models.loading.loaded import Change, Loaded

CODE: Final = "model-renamed"
# TensorFlow's rule for the outermost scope of a node's name.
TRACEABLE: Final = re.compile(r"[A-Za-z0-9.][A-Za-z0-9_.\\/>-]*")


def with_traceable_names(loaded: Loaded) -> Loaded:
    """Return the model after renaming it, and those of its layers, that TensorFlow could not trace."""
    renamed = list(_rename(loaded.model, {loaded.model.name}))
    if not renamed:
        return loaded
    pairs = some_of([f"{old!r} to {new!r}" for old, new in renamed], most=3)
    note = f"has names that TensorFlow does not take, which are changed: {pairs}"
    return replace(loaded, changes=(*loaded.changes, Change(CODE, note)))


def _rename(layer: Any, used: set[str]) -> Iterator[tuple[str, str]]:
    old = layer.name
    if not TRACEABLE.fullmatch(old):
        layer.name = _free(_plain(old), used)
        used.add(layer.name)
        yield old, layer.name
    inner = getattr(layer, "layers", [])
    names = {each.name for each in inner}
    for each in inner:
        yield from _rename(each, names)


def _plain(name: str) -> str:
    """Return a name with its letters without accents, and '_' for what is no letter, digit or one of '_.-'."""
    letters = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", letters).strip("_-") or "layer"


def _free(name: str, used: set[str]) -> str:
    return next(each for each in (name, *(f"{name}_{number}" for number in range(1, len(used) + 2))) if each not in used)
