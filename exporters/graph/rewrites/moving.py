# SPDX-License-Identifier: Apache-2.0
"""Operations that only move values, as slices and concatenations, and what they compute of shapes, as constants."""

import math
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


def whole_pixels(operation: Operation) -> Any:
    """Leave out what makes whole numbers of pixels that are whole numbers, as a Keras input of uint8 does.

    y = Cast(Cast(image, uint8), float)    becomes    y = image
    """
    import tensorflow as tf

    made_whole = operation.inputs[0].op
    if made_whole.type != "Cast" or not operation.inputs[0].dtype.is_integer:
        return None
    image = made_whole.inputs[0]
    is_float = operation.node.attr["DstT"].type == tf.float32.as_datatype_enum
    return tf.identity(image) if is_float and image.op.type == "Placeholder" else None


def stated(operation: Operation) -> Any:
    """Write the shape of a reshape as constants: where one size is unknown, it follows from the others.

    Flattening, attention and a Dense layer on a sequence compute the batch size; that takes three operations and more, which some
    runtimes have for the CPU alone.

    y = Reshape(x, Pack(StridedSlice(Shape(x)), 64))                         becomes    y = Reshape(x, [-1, 64])
    y = Reshape(x, Concat(Gather(Shape(z), [0, 1]), [64])), z of 16 rows     becomes    y = Reshape(x, [-1, 16, 64])
    """
    import tensorflow as tf

    value, shape = operation.inputs
    if shape.op.type not in {"Pack", "ConcatV2"}:
        return None
    sizes = _sizes(shape)
    known = sizes is not None and sizes.count(-1) == 1 and 0 not in sizes
    return tf.reshape(value, sizes) if known else None


def _sizes(shape: Any) -> list[int] | None:
    """Return the sizes in a computed shape, -1 for each that is not known, or None where not even their number is."""
    import numpy as np
    import tensorflow as tf

    if (value := tf.get_static_value(shape)) is not None:
        return [int(size) for size in np.atleast_1d(value)]
    made = shape.op
    if made.type == "Pack":
        return [_size(each) for each in made.inputs]
    if made.type == "ConcatV2":
        parts = [_sizes(each) for each in made.inputs[:-1]]
        return None if None in parts else [size for part in parts if part is not None for size in part]
    if made.type == "GatherV2" and made.inputs[0].op.type == "Shape":
        numbers, of = tf.get_static_value(made.inputs[1]), made.inputs[0].op.inputs[0].shape
        return None if numbers is None or of.rank is None else [-1 if of[int(at)] is None else of[int(at)] for at in numbers]
    return None


def _size(computed: Any) -> int:
    """Return a computed size, or the product of some, -1 where it is not known."""
    import tensorflow as tf

    if (value := tf.get_static_value(computed)) is not None:
        return int(value)
    factors = _sizes(computed.op.inputs[0]) if computed.op.type == "Prod" else None
    return -1 if factors is None or -1 in factors else math.prod(factors)


def untransposed(operation: Operation) -> Any:
    """Leave out a transposition that moves nothing, as a Dense layer on a sequence has.

    y = Transpose(x, [0, 1, 2])    becomes    y = x
    """
    import tensorflow as tf

    axes = operation.constant(1)
    return None if axes is None or axes.tolist() != list(range(len(axes))) else tf.identity(operation.inputs[0])


def sure(operation: Operation) -> Any:
    """Leave out an assertion of a shape, which has been checked when the graph was made.

    y = EnsureShape(x)    becomes    y = x
    """
    import tensorflow as tf

    return tf.identity(operation.inputs[0])


def filled(operation: Operation) -> Any:
    """Write zeros or ones of a value's shape as one number, where all that read them stretch a number to that shape.

    y = SelectV2(condition, x, ZerosLike(x))    becomes    y = SelectV2(condition, x, 0)
    """
    import tensorflow as tf

    if not all(each.op in STRETCHING for each in operation.graph.of(operation.node)):
        return None
    return tf.constant(1 if operation.node.op == "OnesLike" else 0, operation.inputs[0].dtype)


def mirrored(operation: Operation) -> Any:
    """Write padding that repeats the border as single rows: coremltools pads as if the border were not repeated.

    y = MirrorPad(x, [[0, 0], [1, 2]], SYMMETRIC)    becomes    y = Concat(x[:, :1], x, x[:, -1:], x[:, -2:-1])
    """
    import tensorflow as tf

    padded, widths = operation.inputs[0], operation.constant(1)
    if operation.node.attr["mode"].s != b"SYMMETRIC" or widths is None:
        return None
    for axis, (before, after) in enumerate(widths.tolist()):
        size = padded.shape[axis]
        if not before and not after:
            continue
        if size is None:
            return None
        rows = [*range(before - 1, -1, -1), *range(size - 1, size - 1 - after, -1)]
        single = [_row(padded, row, axis) for row in rows]
        padded = tf.concat([*single[:before], padded, *single[before:]], axis)
    return padded


def _row(value: Any, row: int, axis: int) -> Any:
    import tensorflow as tf

    rank = value.shape.rank
    return tf.slice(
        value, [row if each == axis else 0 for each in range(rank)], [1 if each == axis else -1 for each in range(rank)]
    )


# A SelectV2 has the condition's shape, at least.
STRETCHING: Final = ("SelectV2",)
MOVING: Final = Rewrites(
    "rolls as slices, shapes as constants, zeros as one number, pixels as floats",
    {
        "Cast": whole_pixels,
        "EnsureShape": sure,
        "OnesLike": filled,
        "Reshape": stated,
        "Roll": roll,
        "Transpose": untransposed,
        "ZerosLike": filled,
    },
)
MIRRORED: Final = Rewrites("repeated borders as rows", {"MirrorPad": mirrored})
