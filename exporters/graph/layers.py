# SPDX-License-Identifier: Apache-2.0
"""Which Keras layer a node of a graph comes from, and the refusal of a layer that a format cannot hold."""

import re
from collections.abc import Callable, Collection, Mapping
from typing import Any

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


def layers_by_scope(source: Source) -> dict[str, str]:
    """Return the Keras layer that each name scope of a model's graph belongs to, found by tracing the model once more.

    TensorFlow numbers scopes and Keras numbers layers, so that the scope 'conv2d_1' may be that of the layer 'conv2d': names
    alone do not say which layer a node comes from.
    """
    import keras
    import tensorflow as tf

    model, found = classifier(source.spec), dict[str, str]()
    # With sublayers: a nested model has layers of its own.
    layers = model._flatten_layers(include_self=False)  # noqa: SLF001 - Keras has no public way to list them

    def predict(image: Any) -> Any:
        with keras.StatelessScope():
            return model(image, training=False)

    image = tf.TensorSpec((None if source.single is None else 1, *source.shape), tf.float32)
    try:
        for layer in layers:
            # Not setattr: Keras would track the function.
            object.__setattr__(layer, "call", _noting(layer.call, layer.name, found))
        tf.function(predict, input_signature=[image]).get_concrete_function()
    finally:
        for layer in layers:
            vars(layer).pop("call", None)
    return found


def _noting(call: Callable[..., Any], name: str, found: dict[str, str]) -> Callable[..., Any]:
    def noting(*given: Any, **named: Any) -> Any:
        import tensorflow as tf

        found[tf.get_current_name_scope()] = name
        return call(*given, **named)

    return noting


def innermost_layer(node: str, scopes: Mapping[str, str]) -> str | None:
    """Return the layer of the innermost scope that a node's name is in, or None where it is in none."""
    parts = node.split("/")
    outer = ("/".join(parts[:count]) for count in range(len(parts), 0, -1))
    return next((scopes[each] for each in outer if each in scopes), None)


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
