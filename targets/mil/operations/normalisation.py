# SPDX-License-Identifier: Apache-2.0
"""Normalisations; source: iOS15/normalization.py."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.limits import allowed
from edgeferry.targets.mil.operations.window import padded


def batch_norm(  # noqa: PLR0913, PLR0917 - MIL's inputs
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: float | Array = 1e-5,
) -> Any:
    """Return ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``, with one value of each per channel, the second axis."""
    sizes = (x.shape[1], *[1] * (x.ndim - 2))
    y = (x - mean.reshape(sizes)) / np.sqrt(variance + float(epsilon)).reshape(sizes)
    return _scaled(y, gamma, beta, sizes)


def instance_norm(x: Array, gamma: Array | None = None, beta: Array | None = None, epsilon: float | Array = 1e-5) -> Any:
    """Return each image's channels minus their own mean, divided by their own standard deviation."""
    y = _standardised(x, tuple(range(2, x.ndim)), epsilon)
    return _scaled(y, gamma, beta, (x.shape[1], *[1] * (x.ndim - 2)))


def layer_norm(
    x: Array,
    axes: Array | None = None,
    gamma: Array | None = None,
    beta: Array | None = None,
    epsilon: float | Array = 1e-5,
) -> Any:
    """Return ``gamma * (x - mean) / sqrt(variance + epsilon) + beta``, with mean and variance over the axes."""
    chosen = tuple(range(x.ndim)) if axes is None else tuple(int(axis) % x.ndim for axis in axes)
    sizes = tuple(size if axis in chosen else 1 for axis, size in enumerate(x.shape))
    return _scaled(_standardised(x, chosen, epsilon), gamma, beta, sizes)


def l2_norm(x: Array, epsilon: float | Array = 1e-6) -> Any:
    """Return ``x / sqrt(sum of x^2 + epsilon)``, the sum over the last three axes."""
    return x / np.sqrt(np.square(x).sum(axis=(-3, -2, -1), keepdims=True) + float(epsilon))


def local_response_norm(
    x: Array, size: Array, alpha: float | Array = 1e-4, beta: float | Array = 0.75, k: float | Array = 1.0
) -> Any:
    """Return ``x / (k + alpha / size * sum of x^2 over `size` neighbouring channels)^beta``."""
    count, channels = int(size), x.shape[1]
    allowed((x.size + 1, count), "local_response_norm's neighbours")
    squares = padded(np.square(x).swapaxes(1, 2), ((count // 2, (count - 1) // 2), *((0, 0),) * (x.ndim - 3))).swapaxes(1, 2)
    total = sum(squares[:, at : at + channels] for at in range(count))
    return x / (float(k) + float(alpha) / count * total) ** float(beta)


def _standardised(x: Array, axes: tuple[int, ...], epsilon: float | Array) -> Any:
    centred = x - x.mean(axis=axes, keepdims=True)
    return centred / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + float(epsilon))


def _scaled(y: Array, gamma: Array | None, beta: Array | None, sizes: tuple[int, ...]) -> Any:
    y = y if gamma is None else y * gamma.reshape(sizes)
    return y if beta is None else y + beta.reshape(sizes)


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    function.__name__: function for function in (batch_norm, instance_norm, l2_norm, layer_norm, local_response_norm)
}
