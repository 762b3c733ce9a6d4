# SPDX-License-Identifier: Apache-2.0
"""What the description of the preprocessing calls, in Python; each language has its own words for it."""

import math
import struct
from typing import Final

Bytes = list[int]
Ints = list[int]
Floats = list[float]

PI: Final = math.pi


def single(x: float) -> float:
    """Return the nearest number in single precision."""
    found: float = struct.unpack("f", struct.pack("f", x))[0]
    return found


def whole(x: float) -> int:
    """Return a number without its fraction, rounded towards 0."""
    return int(x)


def real(x: int) -> float:
    """Return a whole number as a float."""
    return float(x)


def below(x: float) -> float:
    """Return the largest whole number that is not above."""
    return float(math.floor(x))


def above(x: float) -> float:
    """Return the smallest whole number that is not below."""
    return float(math.ceil(x))


def half_even(x: float) -> float:
    """Return the nearest whole number, the even one of two equally near."""
    return float(round(x))


def sine(x: float) -> float:
    """Return the sine of an angle in radians."""
    return math.sin(x)


def smaller(a: int, b: int) -> int:
    """Return the smaller of two whole numbers."""
    return min(a, b)


def larger(a: int, b: int) -> int:
    """Return the larger of two whole numbers."""
    return max(a, b)


def lower(a: float, b: float) -> float:
    """Return the smaller of two floats."""
    return min(a, b)


def higher(a: float, b: float) -> float:
    """Return the larger of two floats."""
    return max(a, b)


def new_bytes(count: int) -> Bytes:
    """Return so many bytes of 0."""
    return [0] * count


def new_ints(count: int) -> Ints:
    """Return so many whole numbers of 0."""
    return [0] * count


def new_floats(count: int) -> Floats:
    """Return so many floats of 0."""
    return [0.0] * count
