# SPDX-License-Identifier: Apache-2.0
"""Operations without an integer implementation in TF Lite, in operations that have one."""

from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.graph.rewrites.rewrite import Operation, Rewrites

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


# The function of each comparison, and the number next to 0 with which it says the same of 0.
COMPARISONS: Final = {
    "Greater": ("greater", 1e-6),
    "GreaterEqual": ("greater_equal", -1e-6),
    "Less": ("less", -1e-6),
    "LessEqual": ("less_equal", 1e-6),
}
# The next number after 1: a product with 1 itself would be left out.
NOT_QUITE_ONE: Final = 1.0000001
# Batch and numbers.
VECTOR: Final = 2


def negation(operation: Operation) -> Any:
    """Write a negation as a product; within exact GELU it stays, since TF Lite fuses that as it is.

    y = Neg(x)    becomes    y = x * -1
    """
    readers = operation.graph.of(operation.node)
    if any(each.op == "Erfc" for reader in readers for each in (reader, *operation.graph.of(reader))):
        return None
    return operation.inputs[0] * -1.0 if operation.is_float else None


def square(operation: Operation) -> Any:
    """Write a square as a product.

    y = Square(x)    becomes    y = x * x
    """
    (x,) = operation.inputs
    return x * x if operation.is_float else None


def squared_difference(operation: Operation) -> Any:
    """Write a squared difference as a product.

    y = SquaredDifference(a, b)    becomes    y = d * d, d = a - b
    """
    a, b = operation.inputs
    difference = a - b
    return difference * difference if operation.is_float else None


def truth(operation: Operation) -> Any:
    """Write a truth value as a number by a choice, which has integers.

    y = Cast(condition, float)    becomes    y = SelectV2(condition, 1, 0)
    """
    import tensorflow as tf

    (x,) = operation.inputs
    is_truth = x.dtype == tf.bool and operation.node.attr["DstT"].type == tf.float32.as_datatype_enum
    return tf.where(x, 1.0, 0.0) if is_truth else None


def comparison(operation: Operation) -> Any:
    """Compare with next to nothing in place of 0, which TF Lite's converter gives a scale of 0, and so no meaning.

    y = Greater(x, 0)    becomes    y = Greater(x, 1e-6)
    """
    import tensorflow as tf

    x, zero = operation.inputs[0], operation.constant(1)
    if zero is None or zero.any() or zero.dtype != "float32":
        return None
    compare, nearly = COMPARISONS[operation.node.op]
    return getattr(tf, compare)(x, tf.constant(nearly, tf.float32))


def split(operation: Operation) -> Any:
    """Write the split of a vector, as recurrent layers have it, as slices; that of an image has integers.

    a, b = Split(x, 2)    becomes    a = Slice(x, first half), b = Slice(x, second half)
    """
    import tensorflow as tf

    axis, value = operation.constant(0), operation.inputs[1]
    count = operation.node.attr["num_split"].i
    if axis is None or value.shape.rank != VECTOR or not value.shape[int(axis)]:
        return None
    at, size = int(axis) % value.shape.rank, value.shape[int(axis)] // count
    sizes = [size if each == at else -1 for each in range(value.shape.rank)]
    begins = [[number * size if each == at else 0 for each in range(value.shape.rank)] for number in range(count)]
    return [tf.slice(value, begin, sizes) for begin in begins]


def minimum(operation: Operation) -> Any:
    """Write the lesser of a value and a constant so that the value keeps its own range, where others read the value too.

    y = Minimum(x, c)    becomes    y = x - Relu(x - c)
    """
    import tensorflow as tf

    found = _limited(operation)
    return _apart(operation, 0) if found is None else found[0] - tf.nn.relu(found[0] - found[1])


def maximum(operation: Operation) -> Any:
    """Write the greater of a value and a constant so that the value keeps its own range, where others read the value too.

    y = Maximum(x, c)    becomes    y = c + Relu(x - c), or Relu(x)
    """
    import tensorflow as tf

    found = _limited(operation)
    if found is None:
        return _apart(operation, 0)
    value, limit = found
    return tf.nn.relu(value) if not limit.any() else tf.nn.relu(value - limit) + limit


def choice(operation: Operation) -> Any:
    """Write a choice so that values that others read too keep their own range: TF Lite gives what it chooses from the result's.

    y = SelectV2(condition, a, b)    becomes    y = SelectV2(condition, a * 1.0000001, b), where another operation reads a
    """
    return _apart(operation, 1)


def _apart(operation: Operation, first: int) -> Any:
    """Return the operation with a copy of each float value, from an input on, that varies and that others read too; or None."""
    import tensorflow as tf

    inputs = list(operation.inputs)
    for number in range(first, len(inputs)):
        is_shared = len(operation.graph.of_value(operation.node.input[number])) > 1
        if is_shared and operation.constant(number) is None and inputs[number].dtype == tf.float32:
            inputs[number] *= NOT_QUITE_ONE
    if all(new is old for new, old in zip(inputs, operation.inputs, strict=True)):
        return None
    if operation.node.op == "SelectV2":
        return tf.raw_ops.SelectV2(condition=inputs[0], t=inputs[1], e=inputs[2])
    return (tf.minimum if operation.node.op == "Minimum" else tf.maximum)(*inputs)


def _limited(operation: Operation) -> "tuple[Any, NDArray[np.float32]] | None":
    """Return the value that varies and the constant, where another operation reads the value too."""
    if operation.is_float:
        for value, limit in ((0, 1), (1, 0)):
            constant = operation.constant(limit)
            if constant is not None and len(operation.graph.of_value(operation.node.input[value])) > 1:
                return operation.inputs[value], constant.astype("float32")
    return None


INTEGERS: Final = Rewrites(
    "forms with an integer implementation",
    {
        "Neg": negation,
        "Split": split,
        "SelectV2": choice,
        **dict.fromkeys(COMPARISONS, comparison),
        "Square": square,
        "SquaredDifference": squared_difference,
        "Cast": truth,
        "Minimum": minimum,
        "Maximum": maximum,
    },
)
