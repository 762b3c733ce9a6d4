# SPDX-License-Identifier: Apache-2.0
"""Layers of an integer file that stay in float, with a conversion before and after each stretch of them."""

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING

from edgeferry.exporters.graph.layers import innermost_layer, layers_by_scope
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from edgeferry.exporters.graph.source import Source


def kept_in_float(source: "Source", layers: Sequence[str], tensors: Iterable[str]) -> frozenset[str]:
    """Return which tensors of a float file belong to some of the model's layers, alone or fused with others.

    Raises:
        EdgeError: the model has no such layer, or the file has no operation of it.
    """
    if not layers:
        return frozenset()
    scopes = layers_by_scope(source)
    _refuse_unknown(source, layers, set(scopes.values()))
    of = {name: {innermost_layer(part, scopes) for part in name.split(";")} for name in tensors}
    found = frozenset(name for name, named in of.items() if named & set(layers))
    held = set().union(*(of[name] for name in found))
    if lost := [layer for layer in layers if layer not in held]:
        raise EdgeError(
            "EF-keep-float-absent",
            f"{source.spec.path}: export.tflite-int8.keep_float names {lost[0]!r}, of which no operation is left in the file: "
            "it does nothing at inference. Name the layer before or after it.",
        )
    return found


def _refuse_unknown(source: "Source", layers: Sequence[str], known: set[str]) -> None:
    for layer in layers:
        if layer not in known:
            close = get_close_matches(layer, known, 3)
            near = f"; the closest are {', '.join(close)}" if close else ""
            raise EdgeError(
                "EF-keep-float-unknown",
                f"{source.spec.path}: export.tflite-int8.keep_float names {layer!r}, which is no layer of "
                f"{source.spec.model}{near}. `edgeferry explain` lists the layers.",
            )
