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


def rounded_to_float16(values: Array) -> Array:
    """Return float32 values rounded to the nearest float16, ties to even, held in float32; too large ones become infinite."""
    with np.errstate(over="ignore"):
        return values.astype(np.float16).astype(np.float32)


def unpacked(data: bytes, bits: int, count: int, *, signed: bool = False) -> Array:
    """Return numbers of fewer than 8 bits, packed from the lowest bit up: uint8, or int8 where ``signed``.

    Source: coremltools' description of constexpr_lut_to_dense, iOS 16.
    """
    stream = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little")[: bits * count]
    numbers: Array = stream.reshape(count, bits) @ (1 << np.arange(bits, dtype=np.int16))
    if signed:
        numbers = np.where(numbers >= 1 << (bits - 1), numbers - (1 << bits), numbers)
    return numbers.astype(np.int8 if signed else np.uint8)
