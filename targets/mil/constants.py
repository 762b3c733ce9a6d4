# SPDX-License-Identifier: Apache-2.0
"""Compressed weights, decompressed as their operations specify, in the type of their scale or table.

Sources: coremltools 9.0's documentation of the operations, converters/mil/mil/ops/defs/iOS16/constexpr_ops.py and
iOS18/compression.py. An operation that has two forms takes iOS 16's inputs or iOS 18's.
"""

from collections.abc import Callable, Mapping
from math import log2, prod
from typing import Any, Final

import numpy as np

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.arrays import Array, unpacked
from edgeferry.targets.mil.limits import allowed
from edgeferry.targets.target import Unsupported


def constexpr_affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    """Return ``scale * (quantized_data - zero_point)``, where a vector has one value per index of ``axis``; iOS 16."""
    shape = [1] * quantized_data.ndim
    shape[int(axis)] = -1
    offset, factor = (each.reshape(shape) if each.ndim else each for each in (zero_point, scale))
    difference = quantized_data.astype(np.float32) - offset.astype(np.float32)
    dense: Array = (difference * factor.astype(np.float32)).astype(scale.dtype)
    return dense


def constexpr_blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """Return ``scale * (data - offset)``, with one scale per block of ``data.shape / scale.shape``; iOS 18."""
    values = data.astype(scale.dtype)
    if offset is not None:
        values = values - _spread(offset, data.shape)
    dense: Array = (_spread(scale, data.shape) * values).astype(scale.dtype)
    return dense


def constexpr_lut_to_dense(indices: Array, lut: Array, shape: Array | None = None, vector_axis: Array | None = None) -> Array:
    """Return the table's value at each index.

    With ``shape``, iOS 16: indices packed in bytes, one table. Without, iOS 18: tables of [..., palettes, vector], one per block
    of the indices; each vector lies along ``vector_axis``.
    """
    if shape is not None:
        sizes = allowed(shape, "weight")
        bits = int(log2(lut.size))
        _check(indices.size == -(-prod(sizes) * bits // 8), "the numbers of indices and weights of constexpr_lut_to_dense differ")
        dense: Array = lut[unpacked(indices.tobytes(), bits, prod(sizes))].reshape(sizes)
        return dense
    tables = _spread(lut, allowed((*indices.shape, *lut.shape[-2:]), "table"))
    chosen = np.take_along_axis(tables, indices[..., None, None].astype(np.intp), axis=-2)[..., 0, :]
    return chosen[..., 0] if vector_axis is None or lut.shape[-1] == 1 else _laid_along(chosen, int(vector_axis))


def constexpr_sparse_to_dense(nonzero_data: Array, mask: Array, shape: Array | None = None) -> Array:
    """Return ``nonzero_data`` where the mask has ones, else 0; with ``shape`` its bits are packed, iOS 16, otherwise iOS 18."""
    if shape is not None:
        sizes = allowed(shape, "weight")
        _check(mask.size == -(-prod(sizes) // 8), "the numbers of bits and weights of constexpr_sparse_to_dense differ")
        mask = unpacked(mask.tobytes(), 1, prod(sizes)).reshape(sizes)
    _check(np.count_nonzero(mask) == nonzero_data.size, "the numbers of values and set bits of constexpr_sparse_to_dense differ")
    dense: Array = np.zeros(mask.shape, nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return dense


def constexpr_lut_to_sparse(
    indices_mask: Array, indices_nonzero_data: Array, lut: Array, vector_axis: Array | None = None
) -> tuple[Array, Array]:
    """Return a mask and the values under it, looked up in the table; iOS 18."""
    dense = constexpr_lut_to_dense(constexpr_sparse_to_dense(indices_nonzero_data, indices_mask), lut, vector_axis=vector_axis)
    mask = indices_mask if vector_axis is None else np.repeat(indices_mask, lut.shape[-1], axis=int(vector_axis))
    return mask, dense[mask != 0]


def constexpr_sparse_blockwise_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    """Return a mask and the values under it, scaled by their block's scale; iOS 18."""
    dense = constexpr_blockwise_shift_scale(constexpr_sparse_to_dense(nonzero_data, data_mask), scale, offset)
    return data_mask, dense[data_mask != 0]


def constexpr_cast(source_val: Array, output_dtype: str) -> Array:
    """Return float16 values as float32, the only cast that exists; iOS 16."""
    if output_dtype != "fp32":
        raise Unsupported("EF-mil-unsupported", f"constexpr_cast to {output_dtype} is not in the specification")
    return source_val.astype(np.float32)


def _spread(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Return each value repeated over its block of an array of ``shape``."""
    _check(blocks.ndim == len(shape), "the ranks of a scale or table and of its weights differ")
    for axis, size in enumerate(shape):
        _check(size % blocks.shape[axis] == 0, "the shape of a scale or table does not divide that of its weights")
        if blocks.shape[axis] not in {1, size}:
            blocks = np.repeat(blocks, size // blocks.shape[axis], axis=axis)
    return np.broadcast_to(blocks, shape)


def _laid_along(vectors: Array, axis: int) -> Array:
    rank = vectors.ndim - 1
    axis %= rank
    shape = [size * (vectors.shape[-1] if at == axis else 1) for at, size in enumerate(vectors.shape[:-1])]
    return np.moveaxis(vectors, -1, axis + 1).reshape(shape)


def _check(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - read as a sentence
    if not holds:
        raise EdgeError("EF-mil-weights", f"{otherwise}; export it again.")


CONSTANT_EXPRESSIONS: Final[Mapping[str, Callable[..., Any]]] = {
    function.__name__: function
    for function in (
        constexpr_affine_dequantize,
        constexpr_blockwise_shift_scale,
        constexpr_cast,
        constexpr_lut_to_dense,
        constexpr_lut_to_sparse,
        constexpr_sparse_blockwise_shift_scale,
        constexpr_sparse_to_dense,
    )
}
