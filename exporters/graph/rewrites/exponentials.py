# SPDX-License-Identifier: Apache-2.0
"""Activations of exponentials, in operations that more formats have and with results of bounded range.

What is negative of x is x - Relu(x): in integers a Minimum would give its range to x itself, and so to every other reader of x.
"""

from typing import Any, Final

from edgeferry.exporters.graph.rewrites.rewrite import Operation, Rewrites

# Klambauer et al., Self-Normalizing Neural Networks, 2017.
SELU_SCALE: Final = 1.0507009873554805
SELU_ALPHA: Final = 1.6732632423543772


def erfc(operation: Operation) -> Any:
    """Write the complementary error function of exact GELU by the error function.

    y = Erfc(x)    becomes    y = 1 - Erf(x)
    """
    import tensorflow as tf

    return 1.0 - tf.math.erf(operation.inputs[0])


def expm1(operation: Operation) -> Any:
    """Write exp(x) - 1 as it is read; activations need none of the digits that Expm1 keeps next to 0.

    y = Expm1(x)    becomes    y = Exp(x) - 1
    """
    import tensorflow as tf

    return tf.exp(operation.inputs[0]) - 1.0


def log1p(operation: Operation) -> Any:
    """Write log(1 + x) as it is read.

    y = Log1p(x)    becomes    y = Log(1 + x)
    """
    import tensorflow as tf

    return tf.math.log(1.0 + operation.inputs[0])


def reciprocal(operation: Operation) -> Any:
    """Write a reciprocal as a division of 2: coremltools makes any division of 1 an inverse, and adds 1e-4 to what it inverts.

    y = Reciprocal(x)    becomes    y = 2 / x * 0.5
    y = 1 / x            becomes    y = 2 / x * 0.5
    """
    if operation.node.op == "RealDiv":
        numerator = operation.constant(0)
        if numerator is None or not operation.is_float or (numerator != 1).any():
            return None
    return 2.0 / operation.inputs[-1] * 0.5


def softplus(operation: Operation) -> Any:
    """Write log(1 + exp(x)) so that no value overflows.

    y = Softplus(x)    becomes    y = Max(x, 0) + Log(1 + Exp(-Abs(x)))
    """
    import tensorflow as tf

    x = operation.inputs[0]
    return tf.nn.relu(x) + tf.math.log(1.0 + tf.exp(tf.abs(x) * -1.0))


def selu(operation: Operation) -> Any:
    """Write the scaled exponential linear unit with an exponential of at most 1.

    y = Selu(x)    becomes    y = scale * (p + alpha * (Exp(x - p) - 1)), p = Relu(x)
    """
    import tensorflow as tf

    positive = tf.nn.relu(x := operation.inputs[0])
    return SELU_SCALE * positive + SELU_SCALE * SELU_ALPHA * (tf.exp(x - positive) - 1.0)


def softsign(operation: Operation) -> Any:
    """Write x by its distance from 0.

    y = Softsign(x)    becomes    y = x / (1 + Abs(x))
    """
    import tensorflow as tf

    x = operation.inputs[0]
    return x / (1.0 + tf.abs(x))


def elu(operation: Operation) -> Any:
    """Write the exponential linear unit with an exponential of at most 1.

    y = Elu(x)    becomes    y = p + Exp(x - p) - 1, p = Relu(x)
    """
    import tensorflow as tf

    positive = tf.nn.relu(x := operation.inputs[0])
    return positive + (tf.exp(x - positive) - 1.0)


# What ONNX, Core ML or TensorFlow.js lack.
SPELLED: Final = Rewrites(
    "activations in simpler ones",
    {"Erfc": erfc, "Expm1": expm1, "Log1p": log1p, "RealDiv": reciprocal, "Reciprocal": reciprocal, "Softsign": softsign},
)
BOUNDED: Final = Rewrites(
    "exponentials of bounded range", {"Expm1": expm1, "Log1p": log1p, "Softplus": softplus, "Selu": selu, "Elu": elu}
)
