# SPDX-License-Identifier: Apache-2.0
"""Which Keras layer a node of a graph comes from, and the refusal of a layer that a format cannot hold."""

import re
from collections.abc import Collection

from edgeferry.exporters.graph.source import Source
from edgeferry.models.keras_loader import classifier
from edgeferry.models.system.errors import EdgeError


def layer_of(node: str, layers: Collection[str]) -> str:
    """Return the path of the Keras layers, outermost first, that a node's name refers to.

    Keras numbers calls: 'sequential_1/my_layer_1/Erfc' belongs to the layer 'my_layer'.
    """
    parts = [(part, re.sub(r"_\d+$", "", part)) for part in node.split("/")]
    found = [next(name for name in names if name in layers) for names in parts if set(names) & set(layers)]
    return "/".join(found) or node


def lacks_operation(source: Source, code: str, lacking: str, operation: str, node: str) -> EdgeError:
    """Return the refusal of an operation that a format lacks; ``lacking`` says who, such as 'TF Lite does not have'."""
    # With sublayers: a nested model has layers of its own.
    within = classifier(source.spec)._flatten_layers(include_self=False)  # noqa: SLF001 - Keras has no public way to list them
    layer = layer_of(node, {each.name for each in within})
    where = "" if layer == node else f" (at {node})"
    kind = code.removeprefix("EF-").partition("-")[0]
    return EdgeError(
        code,
        f"{source.spec.model}: layer {layer!r} computes {operation}{where}, which {lacking}. Use another layer or "
        f"activation, or remove the {kind} formats from export.formats.",
    )
