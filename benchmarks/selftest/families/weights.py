# SPDX-License-Identifier: Apache-2.0
"""Weights that are not those of the trained model: noise, another training step, channels of another scale or order."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.selftest.fault import Fault, impossible, random_of
from edgeferry.benchmarks.selftest.graph import (
    PLACES,
    bias_of,
    by_channel,
    layer_at,
    layers_of,
    set_bias,
    set_weights,
    weights_of,
    with_graph,
)
from edgeferry.exporters.graph.source import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    Values = NDArray[np.float32]
    Change = Callable[[np.random.Generator, Values], Values]

ALL: Final = "every"
NOISES: Final = (0.10, 0.03, 0.30, 0.01)
# How far another training step is: the spread of each channel's gain, and noise relative to the layer's weights.
STEPS: Final = {"a later training step": (0.04, 0.03), "an early training step": (0.15, 0.10)}


def _changed(source: Source, name: str, place: str, change: "Callable[[GraphDef, NodeDef, np.random.Generator], None]") -> Source:
    rng = random_of(name)

    def change_graph(graph: "GraphDef") -> None:
        found = layers_of(graph) if place == ALL else [layer_at(graph, place)]
        if not found:
            raise impossible("the model has no layer with constant weights")
        for layer in found:
            change(graph, layer, rng)

    return with_graph(source, change_graph)


def _add_noise(graph: "GraphDef", layer: "NodeDef", rng: "np.random.Generator", share: float) -> None:
    weights = weights_of(graph, layer)
    set_weights(graph, layer, weights + share * weights.std() * rng.standard_normal(weights.shape))


def _step(graph: "GraphDef", layer: "NodeDef", rng: "np.random.Generator", gain: float, noise: float) -> None:
    weights = weights_of(graph, layer)
    columns = by_channel(layer, weights)
    columns *= (1 + gain * rng.standard_normal((columns.shape[-1],))).astype("float32")
    set_weights(graph, layer, weights + noise * weights.std() * rng.standard_normal(weights.shape))
    if (bias := bias_of(graph, layer)) is not None:
        set_bias(graph, layer, bias + gain * bias.std() * rng.standard_normal(bias.shape))


def _change_columns(graph: "GraphDef", layer: "NodeDef", rng: "np.random.Generator", change: "Change") -> None:
    weights = weights_of(graph, layer)
    columns = by_channel(layer, weights)
    columns[...] = change(rng, columns.copy())
    set_weights(graph, layer, weights)


def _scale_one(rng: "np.random.Generator", columns: "Values", scale: float) -> "Values":
    columns[..., rng.integers(columns.shape[-1])] *= scale
    return columns


def _exchange_two(rng: "np.random.Generator", columns: "Values") -> "Values":
    one, other = rng.choice(columns.shape[-1], 2, replace=False)
    columns[..., [one, other]] = columns[..., [other, one]]
    return columns


def _shift(_rng: "np.random.Generator", columns: "Values") -> "Values":
    import numpy as np

    return np.roll(columns, 1, axis=-1)


def _fault(name: str, family: str, place: str, change: Callable[..., None], /, **options: Any) -> Fault:
    whole = f"{name}, {place} layer"
    return Fault(whole, family, partial(_changed, name=whole, place=place, change=partial(change, **options)))


def _noises() -> Iterator[Fault]:
    for share in NOISES:
        for place in (ALL, *PLACES):
            yield _fault(f"noise of {share:.0%}", "noise", place, _add_noise, share=share)


def _steps() -> Iterator[Fault]:
    for name, (gain, noise) in STEPS.items():
        for place in ("middle", "first", "last"):
            yield _fault(name, "training step", place, _step, gain=gain, noise=noise)


def _channels() -> Iterator[Fault]:
    changes: dict[str, Change] = {
        "one channel doubled": partial(_scale_one, scale=2.0),
        "one channel lost": partial(_scale_one, scale=0.0),
        "two channels exchanged": _exchange_two,
        "channels shifted": _shift,
        "one channel halved": partial(_scale_one, scale=0.5),
    }
    for place in ("middle", "last", "first"):
        for name, change in changes.items():
            yield _fault(name, "channel weights", place, partial(_change_columns, change=change))


FAULTS = (
    *_noises(),
    *_steps(),
    *_channels(),
    _fault("an early training step", "stale", ALL, _step, gain=0.15, noise=0.10),
    _fault("a later training step", "stale", ALL, _step, gain=0.04, noise=0.03),
)
