# SPDX-License-Identifier: Apache-2.0
"""The range in which integers hold an input, scaled and shifted or not: that of all pixels, not of those seen in calibration."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeVar

from edgeferry.exporters.graph.simulation.activations import STEPS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BLACK: Final = 0
WHITE: Final = 255
# A tensor is known by its number or by its name.
Name = TypeVar("Name", int, str)
# A zero point this far from a half rounds no pixel the wrong way.
LEAST_FROM_HALF: Final = 0.05


def black_and_white(image: tuple[int, ...]) -> "NDArray[np.uint8]":
    """Return the two images between which lie all: [2, height, width, channels], uint8."""
    import numpy as np

    return np.stack([np.full(image, each, np.uint8) for each in (BLACK, WHITE)])


def scaled_inputs(
    inputs: Iterable[Name], operations: Iterable[tuple[Name, Iterable[Name]]], constants: frozenset[Name]
) -> set[Name]:
    """Return the values that are an input, or one scaled and shifted by constants.

    ``operations`` are those that scale, shift or move values: the result of each and its operands, in the order in which they are
    computed.
    """
    found = set(inputs)
    for result, operands in operations:
        varying = [each for each in operands if each not in constants]
        if len(varying) == 1 and varying[0] in found:
            found.add(result)
    return found


def pixel_range(low: float, high: float) -> tuple[float, float]:
    """Return the range from black to white, zero included, as 8 bits hold it.

    Pixels from -1 to 1 in 255 steps have their zero in the middle of two integers, which puts every one of the 256 pixel values
    on a half: as wrong as it can be, and rounded up by one runtime, down by the next. They get 254 steps, and one more below:
    zero is an integer, and so are black and white.
    """
    low, high = min(0.0, low), max(0.0, high)
    zero = -low / (high - low) * STEPS if high > low else 0.0
    if abs(zero % 1 - 0.5) >= LEAST_FROM_HALF:
        return low, high
    step = (high - low) / (STEPS - 1)
    return low - step, high
