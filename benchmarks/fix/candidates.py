# SPDX-License-Identifier: Apache-2.0
"""What is tried: layers kept in float, those first whose rounding costs most, with those that read what they compute."""

from collections.abc import Iterator, Sequence
from typing import Final

from edgeferry.benchmarks.explain.result import LayerCost
from edgeferry.exporters.graph.fold import LINEAR

# Layers that cost less than this part of what all cost are not worth keeping in float.
LEAST_SHARE: Final = 0.01
MOST_TOGETHER: Final = 32


def ranked(costs: Sequence[LayerCost]) -> list[int]:
    """Return the numbers of the parts with layers whose rounding costs most, by what each alone does to the probabilities."""
    total = sum(cost.effect for cost in costs)
    able = [at for at, cost in enumerate(costs) if cost.layers and cost.effect >= LEAST_SHARE * total and cost.effect > 0]
    return sorted(able, key=lambda at: -costs[at].effect)


def island(costs: Sequence[LayerCost], at: int) -> frozenset[str]:
    """Return the layers of a part and of those that read it, up to and with the next ones that have weights.

    What a layer computes is rounded to 8 bits where an integer layer reads it: alone in float, it gains nothing in its range.
    """
    readers = [[place for place, cost in enumerate(costs) if each.node in cost.starts] for each in costs]
    layers, waiting, seen = set(costs[at].layers), list(readers[at]), {at}
    while waiting:
        place = waiting.pop()
        if place in seen:
            continue
        seen.add(place)
        layers |= set(costs[place].layers)
        if not set(costs[place].operations) & set(LINEAR):
            waiting += readers[place]
    return frozenset(layers)


def kept_sets(costs: Sequence[LayerCost]) -> Iterator[frozenset[str]]:
    """Yield sets of layers to keep in float, from the fewest to all."""
    order, seen = ranked(costs), set[frozenset[str]]()
    count = 1
    while order and count <= MOST_TOGETHER:
        worst = order[:count]
        alone = frozenset(layer for at in worst for layer in costs[at].layers)
        for layers in (alone, frozenset[str]().union(*(island(costs, at) for at in worst))):
            if layers not in seen:
                seen.add(layers)
                yield layers
        if count >= len(order):
            break
        count *= 2


def every_layer(costs: Sequence[LayerCost]) -> frozenset[str]:
    """Return all layers: the format in float but for its input and output."""
    return frozenset(layer for cost in costs for layer in cost.layers)


def in_order(layers: frozenset[str], costs: Sequence[LayerCost]) -> tuple[str, ...]:
    """Return layers in the order of the network, of those that became one the last: the file has no more of the others."""
    return tuple(dict.fromkeys(cost.layers[-1] for cost in costs if cost.layers and set(cost.layers) <= layers))
