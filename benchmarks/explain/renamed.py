# SPDX-License-Identifier: Apache-2.0
"""Tensors that have the name of a node and hold another value: TensorFlow.js's converter moves factors and keeps names."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.explain.matching import Stretch
from edgeferry.benchmarks.explain.sums import square

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeferry.exporters.graph.instrumented import Instrumented

    Values = Mapping[str, NDArray[np.float32]]

# A relative error that no rounding makes, and what is left of it in the readers where the value was another one.
LARGE: Final = 0.2
LEFT: Final = 0.1


def renamed(network: "Instrumented", parts: Sequence[Stretch], images: "NDArray[np.float32]", found: "Values") -> frozenset[str]:
    """Return the nodes whose tensors are other values: what reads them is right without them, and wrong with them."""
    meant, computed = network.values(images), network.recomputed(images, found)

    def error(name: str, values: "Values") -> float:
        return float((square(found[name] - values[name]) / max(square(meant[name]), 1e-30)) ** 0.5)

    others = set[str]()
    for part in parts:
        readers = [each.node for each in parts if part.node in each.starts and each.node in found]
        if part.node not in found or not readers or error(part.node, computed) < LARGE:
            continue
        without = network.recomputed(images, {name: each for name, each in found.items() if name != part.node})
        if all(error(each, without) < LEFT * error(each, computed) for each in readers):
            others.add(part.node)
    return frozenset(others)
