# SPDX-License-Identifier: Apache-2.0
"""Biases that were dropped, one class preferred, and batch normalisation without its statistics."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeferry.benchmarks.selftest.fault import Fault, impossible, random_of
from edgeferry.benchmarks.selftest.graph import bias_of, head_of, layer_at, layers_of, set_bias, with_graph
from edgeferry.exporters.graph.source import Source, traced_again

if TYPE_CHECKING:
    import keras
    from tensorflow.core.framework.graph_pb2 import GraphDef


def _dropped(source: Source, place: str | None) -> Source:
    def change(graph: "GraphDef") -> None:
        found = layers_of(graph) if place is None else [layer_at(graph, place)]
        biased = [(layer, bias) for layer in found if (bias := bias_of(graph, layer)) is not None]
        if not any(bias.any() for _, bias in biased):
            raise impossible("there is no bias")
        for layer, bias in biased:
            set_bias(graph, layer, bias * 0)

    return with_graph(source, change)


def _biased(source: Source, where: float, by: float) -> Source:
    """Return the classifier with one class's logit raised."""

    def change(graph: "GraphDef") -> None:
        head = head_of(graph, source.classes)
        bias = bias_of(graph, head)
        if bias is None:
            raise impossible("the last layer has no bias")
        bias.reshape(-1)[round(where * (source.classes - 1))] += by
        set_bias(graph, head, bias)

    return with_graph(source, change)


def _with_statistics(source: Source, change: "Callable[[keras.layers.BatchNormalization], None]", *, first_only: bool) -> Source:
    """Return the classifier traced again after its batch normalisations were changed, which are then put back."""
    import keras

    from edgeferry.models.keras_loader import classifier

    layers = classifier(source.spec)._flatten_layers()  # noqa: SLF001 - Keras has no public way to list all sublayers
    found = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not found:
        raise impossible("the model has no batch normalisation")
    kept = [layer.get_weights() for layer in found]
    try:
        for layer in found[:1] if first_only else found:
            change(layer)
        return traced_again(source)
    finally:
        for layer, weights in zip(found, kept, strict=True):
            layer.set_weights(weights)


def _lose(layer: "keras.layers.BatchNormalization") -> None:
    layer.moving_mean.assign(layer.moving_mean * 0)
    layer.moving_variance.assign(layer.moving_variance * 0 + 1)


def _drift(layer: "keras.layers.BatchNormalization") -> None:
    rng = random_of(layer.name)
    spread = layer.moving_variance.numpy() ** 0.5
    layer.moving_mean.assign(layer.moving_mean.numpy() + 0.1 * spread * rng.standard_normal(spread.shape))


def _fault(name: str, family: str, change: Callable[..., Source], /, **options: Any) -> Fault:
    return Fault(name, family, partial(change, **options))


FAULTS = (
    _fault("bias dropped, first layer", "bias", _dropped, place="first"),
    _fault("bias dropped, middle layer", "bias", _dropped, place="middle"),
    _fault("bias dropped, last layer", "bias", _dropped, place="last"),
    _fault("every bias dropped", "bias", _dropped, place=None),
    _fault("logit of the first class +1", "biased class", _biased, where=0.0, by=1.0),
    _fault("logit of the middle class +1", "biased class", _biased, where=0.5, by=1.0),
    _fault("logit of the last class +0.5", "biased class", _biased, where=1.0, by=0.5),
    _fault("logit of the last class -1", "biased class", _biased, where=1.0, by=-1.0),
    _fault("batch statistics lost", "batch statistics", _with_statistics, change=_lose, first_only=False),
    _fault("batch statistics lost, first layer", "batch statistics", _with_statistics, change=_lose, first_only=True),
    _fault("batch statistics of another epoch", "batch statistics", _with_statistics, change=_drift, first_only=False),
)
