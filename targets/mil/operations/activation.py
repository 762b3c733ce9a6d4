# SPDX-License-Identifier: Apache-2.0
"""Activations; source: iOS15/activation.py."""

from collections.abc import Callable, Mapping
from math import pi, sqrt
from typing import Any, Final

import numpy as np
from scipy import special

from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.target import Unsupported


def clamped_relu(x: Array, alpha: Array, beta: Array) -> Any:
    """Return ``min(beta, x)`` where ``x >= 0``, else ``min(beta, alpha * x)``."""
    return np.minimum(float(beta), np.where(x >= 0, x, float(alpha) * x))


def elu(x: Array, alpha: Array) -> Any:
    """Return x where ``x > 0``, else ``alpha * (e^x - 1)``."""
    return np.where(x > 0, x, float(alpha) * np.expm1(np.minimum(x, 0)))


def gelu(x: Array, mode: str = "EXACT") -> Any:
    """Return ``x`` times the normal cumulative distribution of x, or one of two approximations of that."""
    if mode == "EXACT":
        return 0.5 * x * (1 + special.erf(x / np.float32(sqrt(2))))
    if mode == "TANH_APPROXIMATION":
        return 0.5 * x * (1 + np.tanh(np.float32(sqrt(2 / pi)) * (x + 0.044715 * x * x * x)))
    if mode == "SIGMOID_APPROXIMATION":
        return x * special.expit(1.702 * x)
    raise Unsupported("EF-mil-unsupported", f"gelu has the mode {mode!r}, which the evaluator does not support")


def leaky_relu(x: Array, alpha: Array) -> Any:
    """Return x where ``x >= 0``, else ``alpha * x``."""
    return np.where(x >= 0, x, float(alpha) * x)


def linear_activation(x: Array, alpha: Array, beta: Array) -> Any:
    """Return ``alpha * x + beta``."""
    return float(alpha) * x + float(beta)


def prelu(x: Array, alpha: Array) -> Any:
    """Return x where ``x > 0``, else ``alpha * x``, with one alpha per channel, the second axis."""
    return np.where(x > 0, x, _by_channel(alpha, x) * x)


def relu(x: Array) -> Any:
    """Return ``max(x, 0)``."""
    return np.maximum(x, 0)


def relu6(x: Array) -> Any:
    """Return ``min(max(x, 0), 6)``."""
    return np.clip(x, 0, 6)


def relu_over(x: Array) -> Any:
    """Return the result of relu, written over x."""
    return np.maximum(x, 0, out=x)


def relu6_over(x: Array) -> Any:
    """Return the result of relu6, written over x."""
    return np.clip(x, 0, 6, out=x)


def scaled_tanh(x: Array, alpha: Array, beta: Array) -> Any:
    """Return ``alpha * tanh(beta * x)``."""
    return float(alpha) * np.tanh(float(beta) * x)


def sigmoid(x: Array) -> Any:
    """Return ``1 / (1 + e^-x)``."""
    return special.expit(x)


def sigmoid_hard(x: Array, alpha: Array, beta: Array) -> Any:
    """Return ``min(max(alpha * x + beta, 0), 1)``."""
    return np.clip(float(alpha) * x + float(beta), 0, 1)


def silu(x: Array) -> Any:
    """Return ``x * sigmoid(x)``."""
    return x * special.expit(x)


def softplus(x: Array) -> Any:
    """Return ``log(1 + e^x)``."""
    return np.logaddexp(x, 0)


def softplus_parametric(x: Array, alpha: Array, beta: Array) -> Any:
    """Return ``alpha * log(1 + e^(beta * x))``, with one value of each per channel."""
    return _by_channel(alpha, x) * np.logaddexp(_by_channel(beta, x) * x, 0)


def softmax(x: Array, axis: int | Array = -1) -> Any:
    """Return ``e^x / sum(e^x)`` along an axis; the maximum is subtracted first, which only prevents overflow."""
    grown = np.exp(x - x.max(axis=int(axis), keepdims=True))
    return grown / grown.sum(axis=int(axis), keepdims=True)


def softsign(x: Array) -> Any:
    """Return ``x / (1 + |x|)``."""
    return x / (1 + np.abs(x))


def thresholded_relu(x: Array, alpha: Array) -> Any:
    """Return x where ``x >= alpha``, else 0."""
    return np.where(x >= float(alpha), x, 0)


def _by_channel(values: Array, x: Array) -> Array:
    return values.reshape(x.shape[1], *[1] * (x.ndim - 2))


OVERWRITING: Final[Mapping[str, Callable[..., Any]]] = {"relu": relu_over, "relu6": relu6_over}
OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    function.__name__: function
    for function in (
        clamped_relu,
        elu,
        gelu,
        leaky_relu,
        linear_activation,
        prelu,
        relu,
        relu6,
        scaled_tanh,
        sigmoid,
        sigmoid_hard,
        silu,
        softmax,
        softplus,
        softplus_parametric,
        softsign,
        thresholded_relu,
    )
}
