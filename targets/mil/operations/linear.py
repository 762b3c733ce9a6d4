# SPDX-License-Identifier: Apache-2.0
"""Matrix products; source: iOS15/linear.py, iOS18/transformers.py (scaled_dot_product_attention)."""

from collections.abc import Callable, Mapping
from math import sqrt
from typing import Any, Final

import numpy as np

from targets.mil.arrays import Array
from targets.mil.operations.activation import softmax


def linear(x: Array, weight: Array, bias: Array | None = None) -> Any:
    """Return ``x @ weight.T + bias``."""
    y = np.matmul(x, weight.T)
    return y if bias is None else y + bias


def matmul(x: Array, y: Array, *, transpose_x: bool | Array = False, transpose_y: bool | Array = False) -> Any:
    """Return ``x @ y`` as numpy broadcasts it, the last two axes of either exchanged first where that is asked for."""
    return np.matmul(_transposed(x) if transpose_x else x, _transposed(y) if transpose_y else y)


def einsum(values: tuple[Array, ...], equation: str) -> Any:
    """Return Einstein's summation, as the equation says."""
    return np.einsum(equation, *values, optimize=True)


def scaled_dot_product_attention(query: Array, key: Array, value: Array, attn_mask: Array | None = None) -> Any:
    """Return ``softmax(query @ key.T / sqrt(E) + mask) @ value``; a mask of truth values is 0 or minus infinity."""
    scores = np.matmul(query, _transposed(key)) / np.float32(sqrt(query.shape[-1]))
    if attn_mask is not None:
        scores = scores + (np.where(attn_mask, 0, -np.inf) if attn_mask.dtype == np.bool_ else attn_mask)
    return np.matmul(softmax(scores), value)


def _transposed(x: Array) -> Array:
    return x if x.ndim < 2 else x.swapaxes(-1, -2)


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "einsum": einsum,
    "linear": linear,
    "matmul": matmul,
    "scaled_dot_product_attention": scaled_dot_product_attention,
}
