# SPDX-License-Identifier: Apache-2.0
"""Trigonometric and hyperbolic functions that TF Lite or Core ML lack, in those that they have."""

from typing import Any, Final

from edgeferry.exporters.graph.rewrites.rewrite import Operation, Rewrites


def tangent(operation: Operation) -> Any:
    """Write y = Tan(x) as y = Sin(x) / Cos(x)."""
    import tensorflow as tf

    x = operation.inputs[0]
    return tf.sin(x) / tf.cos(x)


def arctangent(operation: Operation) -> Any:
    """Write y = Atan(x) as y = 2 * Atan2(x, 1 + Sqrt(1 + x * x)): TF Lite's Atan2 takes two values of one shape."""
    import tensorflow as tf

    x = operation.inputs[0]
    return 2.0 * tf.atan2(x, 1.0 + tf.sqrt(1.0 + x * x))


def arcsine(operation: Operation) -> Any:
    """Write y = Asin(x) as y = Atan2(x, Sqrt(1 - x * x))."""
    import tensorflow as tf

    x = operation.inputs[0]
    return tf.atan2(x, tf.sqrt(1.0 - x * x))


def arccosine(operation: Operation) -> Any:
    """Write y = Acos(x) as y = Atan2(Sqrt(1 - x * x), x)."""
    import tensorflow as tf

    x = operation.inputs[0]
    return tf.atan2(tf.sqrt(1.0 - x * x), x)


def hyperbolic_sine(operation: Operation) -> Any:
    """Write y = Sinh(x) as y = (Exp(x) - Exp(-x)) / 2."""
    import tensorflow as tf

    x = operation.inputs[0]
    return (tf.exp(x) - tf.exp(x * -1.0)) * 0.5


def hyperbolic_cosine(operation: Operation) -> Any:
    """Write y = Cosh(x) as y = (Exp(x) + Exp(-x)) / 2."""
    import tensorflow as tf

    x = operation.inputs[0]
    return (tf.exp(x) + tf.exp(x * -1.0)) * 0.5


def inverse_hyperbolic_sine(operation: Operation) -> Any:
    """Write y = Asinh(x) as y = Sign(x) * Log(a + Sqrt(a * a + 1)), a = Abs(x), so that no digits cancel."""
    import tensorflow as tf

    size = tf.abs(x := operation.inputs[0])
    return tf.sign(x) * tf.math.log(size + tf.sqrt(size * size + 1.0))


def inverse_hyperbolic_cosine(operation: Operation) -> Any:
    """Write y = Acosh(x) as y = Log(x + Sqrt(x * x - 1))."""
    import tensorflow as tf

    x = operation.inputs[0]
    return tf.math.log(x + tf.sqrt(x * x - 1.0))


def inverse_hyperbolic_tangent(operation: Operation) -> Any:
    """Write y = Atanh(x) as y = Log((1 + x) / (1 - x)) / 2."""
    import tensorflow as tf

    x = operation.inputs[0]
    return 0.5 * tf.math.log((1.0 + x) / (1.0 - x))


ARC: Final = Rewrites(
    "arc functions by Atan2, Tan by Sin and Cos",
    {"Tan": tangent, "Atan": arctangent, "Asin": arcsine, "Acos": arccosine},
)
HYPERBOLIC: Final = Rewrites(
    "hyperbolic functions by exponentials and logarithms",
    {
        "Sinh": hyperbolic_sine,
        "Cosh": hyperbolic_cosine,
        "Asinh": inverse_hyperbolic_sine,
        "Acosh": inverse_hyperbolic_cosine,
        "Atanh": inverse_hyperbolic_tangent,
    },
)
