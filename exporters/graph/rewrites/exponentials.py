# SPDX-License-Identifier: Apache-2.0
"""Activations of exponentials, in operations that more formats have and with results of bounded range."""

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


def softplus(operation: Operation) -> Any:
    """Write log(1 + exp(x)) so that no value overflows.

    y = Softplus(x)    becomes    y = Max(x, 0) + Log(1 + Exp(-Abs(x)))
    """
    import tensorflow as tf

    x = operation.inputs[0]
    return tf.nn.relu(x) + tf.math.log(1.0 + tf.exp(tf.abs(x) * -1.0))


def selu(operation: Operation) -> Any:
    """Write the scaled exponential linear unit with an exponential of at most 1.

    y = Selu(x)    becomes    y = scale * (Max(x, 0) + alpha * (Exp(Min(x, 0)) - 1))
    """
    import tensorflow as tf

    x = operation.inputs[0]
    return SELU_SCALE * tf.nn.relu(x) + SELU_SCALE * SELU_ALPHA * (tf.exp(tf.minimum(x, 0.0)) - 1.0)


ERFC: Final = Rewrites("erfc by erf", {"Erfc": erfc})
EXPONENTIALS: Final = Rewrites("exponentials of bounded range", {"Expm1": expm1, "Softplus": softplus, "Selu": selu})
