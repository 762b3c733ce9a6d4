# SPDX-License-Identifier: Apache-2.0
"""Operations that only move values, as slices and concatenations."""

from typing import Any, Final

from edgeferry.exporters.graph.rewrites.rewrite import Operation, Rewrites


def roll(operation: Operation) -> Any:
    """Write a roll by a known shift along axes of known size as two slices for each axis.

    y = Roll(x, 2, axis=1)    becomes    y = Concat(x[:, -2:], x[:, :-2], axis=1)
    """
    import numpy as np
    import tensorflow as tf

    moved = operation.inputs[0]
    shifts, axes = operation.constant(1), operation.constant(2)
    if shifts is None or axes is None:
        return None
    for shift, axis in zip(np.atleast_1d(shifts), np.atleast_1d(axes), strict=True):
        size = moved.shape[int(axis)]
        if size is None:
            return None
        if first := int(shift) % size:
            moved = tf.concat(tf.split(moved, [size - first, first], int(axis))[::-1], int(axis))
    return moved


MOVING: Final = Rewrites("rolls as slices", {"Roll": roll})
