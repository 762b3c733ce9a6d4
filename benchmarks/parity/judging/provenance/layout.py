# SPDX-License-Identifier: Apache-2.0
"""One layout for the weights of a file and the model's constants: axes of size 1 left out, the order of the model's axes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
# Turns an array in a file's layout into the model's.
Move = Callable[[Array], Array]


def compact(shape: tuple[int, ...], axes: str) -> tuple[tuple[int, ...], str]:
    """Return a shape and the letters of its axes without axes of size 1.

    The two last axes of TensorFlow's depthwise weights (HWCM) are one axis of output channels in every other layout, in the same
    order of numbers.
    """
    if axes == "HWCM":
        shape, axes = (*shape[:2], shape[2] * shape[3]), "HWO"
    kept = [at for at, size in enumerate(shape) if size != 1]
    return tuple(shape[at] for at in kept), "".join(axes[at] for at in kept) if axes else ""


def moves(shape: tuple[int, ...], axes: str, goal: tuple[int, ...], letters: str) -> Iterator[Move]:
    """Yield the ways in which an array of a file can be the model's, of shape ``goal`` with these letters.

    Where both layouts are known there is one way, or none; where one is not, the order of the numbers or, of two axes, the
    transposed one.
    """
    small, own = compact(shape, axes)
    if own and letters:
        if sorted(own) == sorted(letters):
            order = tuple(own.index(letter) for letter in letters)
            if tuple(small[at] for at in order) == goal:
                yield lambda array: array.reshape(small).transpose(order)
        return
    if np.prod(small, dtype=np.int64) != np.prod(goal, dtype=np.int64):
        return
    if small == goal or len(small) != len(goal):
        yield lambda array: array.reshape(goal)
    if len(small) == 2 and small[::-1] == goal:
        yield lambda array: array.reshape(small).T
