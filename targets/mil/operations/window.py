# SPDX-License-Identifier: Apache-2.0
"""How a window moves over spatial axes: what convolutions and poolings share.

Source: the documentation of pad_type, iOS15/conv.py and iOS15/pool.py; where that does not define how "same" splits its padding,
TensorFlow's rule, from which it is converted: ``same`` puts the odd one at the end, ``same_lower`` at the beginning.
"""

from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.limits import allowed
from edgeferry.targets.target import Unsupported

# Elements of one window: as many as in a global pooling of a picture of 1024 x 1024.
WIDEST_WINDOW: Final = 2**20

Pads = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Window:
    """A window's sizes, steps and dilations, one for each spatial axis."""

    sizes: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """Return how many elements the window spans on each axis."""
        return tuple((size - 1) * dilation + 1 for size, dilation in zip(self.sizes, self.dilations, strict=True))


def window_of(sizes: Any, strides: Any, dilations: Any = None) -> Window:
    """Return a window; steps and dilations that are not given are 1.

    Raises:
        EdgeError: a size or step is not positive, or their counts differ, or the window is too large.
    """
    rank = len(sizes)
    numbers = [tuple(map(int, each)) if each is not None else (1,) * rank for each in (sizes, strides, dilations)]
    if any(len(each) != rank or min(each, default=1) < 1 for each in numbers):
        raise EdgeError(
            "EF-mil-window", f"a window has the sizes, strides and dilations {numbers}; expected {rank} positive numbers each."
        )
    if prod(numbers[0]) > WIDEST_WINDOW:
        raise EdgeError("EF-mil-too-large", f"a window has the sizes {numbers[0]}; expected at most {WIDEST_WINDOW} elements.")
    return Window(*numbers)


def padding(pad_type: str, pad: Array | None, window: Window, shape: tuple[int, ...]) -> Pads:
    """Return how much is padded before and after each spatial axis of an input of ``shape``."""
    if pad_type == "valid":
        return ((0, 0),) * len(shape)
    if pad_type == "custom":
        numbers = [0] * (2 * len(shape)) if pad is None else list(map(int, pad))
        return tuple((numbers[2 * at], numbers[2 * at + 1]) for at in range(len(shape)))
    totals = [
        max(0, (-(-size // stride) - 1) * stride + extent - size)
        for size, stride, extent in zip(shape, window.strides, window.extents, strict=True)
    ]
    if pad_type == "same":
        return tuple((total // 2, total - total // 2) for total in totals)
    if pad_type == "same_lower":
        return tuple((total - total // 2, total // 2) for total in totals)
    raise Unsupported("EF-mil-unsupported", f"the padding {pad_type!r} is not supported by the evaluator")


def padded(x: Array, pads: Pads, value: float = 0.0) -> Array:
    """Return x, [n, channels, *spatial], padded with a value around its spatial axes."""
    if not any(map(any, pads)):
        return x
    sizes = [size + sum(pair) for size, pair in zip(x.shape[2:], pads, strict=True)]
    around: Array = np.empty(allowed((*x.shape[:2], *sizes), "padded input"), x.dtype)
    inner = tuple(slice(before, before + size) for (before, _), size in zip(pads, x.shape[2:], strict=True))
    for axis, part in enumerate(inner, start=2):
        every = (slice(None),) * axis
        around[(*every, slice(None, part.start))] = value
        around[(*every, slice(part.stop, None))] = value
    around[(slice(None), slice(None), *inner)] = x
    return around


def steps(size: int, extent: int, stride: int) -> int:
    """Return how many positions a window has on a padded axis: ``floor((size - extent) / stride) + 1``.

    Raises:
        EdgeError: it does not fit.
    """
    if size < extent:
        raise EdgeError("EF-mil-window", f"a window of {extent} does not fit on an axis of {size}.")
    return (size - extent) // stride + 1
