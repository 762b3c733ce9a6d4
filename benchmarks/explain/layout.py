# SPDX-License-Identifier: Apache-2.0
"""A file's values in the layout of the Keras model's: ONNX and Core ML have channels before rows and columns."""

from collections.abc import Mapping
from itertools import permutations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]


def laid_out(found: "Array", meant: "Array", axes: dict[str, tuple[int, ...] | None], name: str) -> "Array | None":
    """Return values with their axes in the order of those they are compared with, or None where there is no such order.

    Where several fit, that whose values are the closest; ``axes`` remembers it under a name, None where shapes differ but sizes
    do not.
    """
    if found.size != meant.size:
        return None
    if name not in axes:
        axes[name] = _order(found, meant)
    order = axes[name]
    return found.reshape(meant.shape) if order is None else found.transpose(order)


def _order(found: "Array", meant: "Array") -> tuple[int, ...] | None:
    import numpy as np

    if found.ndim != meant.ndim or found.ndim < 3:
        return None if found.shape != meant.shape else tuple(range(found.ndim))
    # As it is, or with channels first: of a square image another order may be closer by chance, since it may be turned.
    usual = [tuple(range(found.ndim)), (0, *range(2, found.ndim), 1)]
    others = [(0, *rest) for rest in permutations(range(1, found.ndim))]
    for orders in (usual, others):
        if able := [order for order in orders if tuple(found.shape[at] for at in order) == meant.shape]:
            return min(able, key=lambda order: float(np.square(found.transpose(order) - meant).sum()))
    return None


def stacked(batch: "list[Mapping[str, Array]]", names: Mapping[str, str]) -> "dict[str, Array]":
    """Return the values of several images in one array for each node; ``names`` holds the tensor of each."""
    import numpy as np

    return {node: np.concatenate([image[tensor] for image in batch]) for node, tensor in names.items()}
