# SPDX-License-Identifier: Apache-2.0
"""Matrix products; source: iOS15/linear.py, iOS18/transformers.py (scaled_dot_product_attention)."""

from collections.abc import Callable, Mapping
from math import prod, sqrt
from typing import Any, Final

import numpy as np

from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.limits import allowed, check_work
from edgeferry.targets.mil.operations.activation import softmax


def linear(x: Array, weight: Array, bias: Array | None = None) -> Any:
    """Return ``x @ weight.T + bias``."""
    y = _product(x, weight.T)
    if bias is not None:
        y += bias
    return y


def matmul(x: Array, y: Array, *, transpose_x: bool | Array = False, transpose_y: bool | Array = False) -> Any:
    """Return ``x @ y`` as numpy broadcasts it, after the last two axes of either are exchanged where requested."""
    return _product(_transposed(x) if transpose_x else x, _transposed(y) if transpose_y else y)


def einsum(values: tuple[Array, ...], equation: str) -> Any:
    """Return Einstein's summation, as the equation says."""
    letters, _, kept = equation.replace(" ", "").partition("->")
    terms = letters.split(",")
    pairs = (zip(term, value.shape, strict=True) for term, value in zip(terms, values, strict=True))
    sizes = {letter: size for each in pairs for letter, size in each}
    allowed((sizes[letter] for letter in kept), "einsum")
    check_work(prod(sizes.values()), "einsum")
    # One product after the other in the order given: intermediate results are no larger than the work allowed.
    return np.einsum(equation, *values, optimize=len(values) == 2)


def scaled_dot_product_attention(query: Array, key: Array, value: Array, attn_mask: Array | None = None) -> Any:
    """Return ``softmax(query @ key.T / sqrt(E) + mask) @ value``; a boolean mask adds 0 or minus infinity."""
    scores = _product(query, _transposed(key)) / np.float32(sqrt(query.shape[-1]))
    if attn_mask is not None:
        allowed(np.broadcast_shapes(scores.shape, attn_mask.shape), "attention")
        scores = scores + (np.where(attn_mask, 0, -np.inf) if attn_mask.dtype == np.bool_ else attn_mask)
    return _product(softmax(scores), value)


def _product(x: Array, y: Array) -> Any:
    columns = y.shape[-1] if y.ndim > 1 else 1
    allowed((*np.broadcast_shapes(x.shape[:-2], y.shape[:-2]), *x.shape[-2:-1], columns), "matrix product")
    check_work(max(x.size, 1) * columns * prod(y.shape[:-2]), "matrix product")
    return np.matmul(x, y)


def _transposed(x: Array) -> Array:
    return x if x.ndim < 2 else x.swapaxes(-1, -2)


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "einsum": einsum,
    "linear": linear,
    "matmul": matmul,
    "scaled_dot_product_attention": scaled_dot_product_attention,
}
