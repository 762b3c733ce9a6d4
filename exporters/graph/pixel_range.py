# SPDX-License-Identifier: Apache-2.0
"""The range that integers hold a classifier's input in: that of every pixel a config allows, not of those seen in calibration."""

from typing import Final

from edgeferry.exporters.graph.simulation.activations import STEPS
from edgeferry.models.preprocessing import Preprocessing

WHITE: Final = 255
# A zero point this far from a half rounds no pixel the wrong way.
LEAST_FROM_HALF: Final = 0.05


def input_range(how: Preprocessing) -> tuple[float, float]:
    """Return the least and the greatest input, zero included, as 8 bits hold them.

    Pixels from -1 to 1 in 255 steps have their zero in the middle of two integers, which puts every one of the 256 pixel values
    on a half, as wrong as it can be. They get 254 steps, and one more below: zero is an integer, and so are black and white.
    """
    ends = [(pixel - mean) / std for pixel in (0, WHITE) for mean, std in zip(how.mean, how.std, strict=True)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    zero = -low / (high - low) * STEPS
    if abs(zero % 1 - 0.5) >= LEAST_FROM_HALF:
        return low, high
    step = (high - low) / (STEPS - 1)
    return low - step, high
