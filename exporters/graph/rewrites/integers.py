# SPDX-License-Identifier: Apache-2.0
"""Operations without an integer implementation in TF Lite, in operations that have one."""

from typing import Any, Final

from edgeferry.exporters.graph.rewrites.rewrite import Operation, Rewrites


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


INTEGERS: Final = Rewrites(
    "forms with an integer implementation",
    {"Neg": negation, "Square": square, "SquaredDifference": squared_difference},
)
