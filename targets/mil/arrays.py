# SPDX-License-Identifier: Apache-2.0
"""The arrays of a program's values, and rounding to float16."""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

# The type that the evaluator computes in, by the declared one: float16 values are held in float32, which represents each exactly.
COMPUTED_IN: Final[dict[str, np.dtype[Any]]] = {
    "FLOAT16": np.dtype(np.float32),
    "FLOAT32": np.dtype(np.float32),
    "FLOAT64": np.dtype(np.float64),
    "BOOL": np.dtype(np.bool_),
    "INT4": np.dtype(np.int8),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "UINT1": np.dtype(np.uint8),
    "UINT2": np.dtype(np.uint8),
    "UINT3": np.dtype(np.uint8),
    "UINT4": np.dtype(np.uint8),
    "UINT6": np.dtype(np.uint8),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
}

# Numbers that are rounded at once: they stay in a core's cache. Fewer are converted by numpy, which starts faster.
BLOCK: Final = 1 << 14
# The bits of 65520, from which float16 has infinity, and of 2**-14, its least normal number.
LEAST_INFINITE: Final = 0x477FF000
LEAST_NORMAL: Final = 0x38800000


def rounded_to_float16(values: Array) -> Array:
    """Return float32 values rounded to the nearest float16, ties to even, held in float32; too large ones become infinite."""
    if values.size < BLOCK or values.dtype != np.float32:
        with np.errstate(over="ignore"):
            return values.astype(np.float16).astype(np.float32)
    flat = np.ascontiguousarray(values).reshape(-1)
    rounded = np.empty_like(flat)
    for at in range(0, flat.size, BLOCK):
        _round_bits(flat[at : at + BLOCK], rounded[at : at + BLOCK])
    return rounded.reshape(values.shape)


def _round_bits(values: Array, rounded: Array) -> None:
    """Round as ``rounded_to_float16`` does, by the bits of float32: numpy's two conversions take two to three times as long."""
    bits, out = values.view(np.uint32), rounded.view(np.uint32)
    # The last of the 10 bits that stay decides a tie: half a step less than one, or half a step, is added, and the rest dropped.
    np.right_shift(bits, 13, out=out)
    out &= 1
    out += 0xFFF
    out += bits
    out &= 0xFFFFE000
    size = bits & 0x7FFFFFFF
    if (large := size >= LEAST_INFINITE).any():
        rounded[large] = np.copysign(values[large] * np.inf, values[large])
    if (small := size - 1 < LEAST_NORMAL - 1).any():
        # Below float16's normal numbers the step is that of float32 near 0.75.
        few = np.abs(values[small])
        rounded[small] = np.copysign(few + np.float32(0.75) - np.float32(0.75), values[small])


def unpacked(data: bytes, bits: int, count: int, *, signed: bool = False) -> Array:
    """Return numbers of fewer than 8 bits, packed from the lowest bit up: uint8, or int8 where ``signed``.

    Source: coremltools' description of constexpr_lut_to_dense, iOS 16.
    """
    stream = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: bits * count]
    numbers: Array = stream.reshape(count, bits) @ (1 << np.arange(bits, dtype=np.int16))
    if signed:
        numbers = np.where(numbers >= 1 << (bits - 1), numbers - (1 << bits), numbers)
    return numbers.astype(np.int8 if signed else np.uint8)
