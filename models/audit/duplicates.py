# SPDX-License-Identifier: Apache-2.0
"""Images that are in two sets, exactly or nearly: saved again, resized, a little brighter."""

from typing import TYPE_CHECKING, Final

from edgeferry.models.audit.decoding import Decoded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Two gray thumbnails are of one picture where they correlate above this. Photographs at half the size, in JPEG of quality 30 and
# a little brighter: 0.994 or more with themselves, 0.73 at most with others; different digits of 8 x 8 pixels: up to 0.989.
ALIKE: Final = 0.992
# A thumbnail whose values differ by less than this shows nothing to recognize.
LEAST_CONTRAST: Final = 4.0
# More calibration images are not compared, but some of them evenly.
MOST_COMPARED: Final = 2000
BLOCK: Final = 1000


def same_images(golden: Decoded, other: Decoded) -> list[int]:
    """Return the numbers of the other images whose pixels are those of a golden image."""
    known = set(golden.digests)
    return [number for number, each in enumerate(other.digests) if each in known]


def similar_images(golden: Decoded, other: Decoded) -> list[tuple[int, int]]:
    """Return pairs of a golden and another image that are nearly, but not exactly, the same picture."""
    import numpy as np

    numbers = np.linspace(0, len(other.thumbnails) - 1, min(len(other.thumbnails), MOST_COMPARED)).astype(int)
    wanted = _standardised(other.thumbnails[numbers])
    pairs = []
    for start in range(0, len(golden.thumbnails), BLOCK):
        alike = _standardised(golden.thumbnails[start : start + BLOCK]) @ wanted.T > ALIKE
        pairs += [(start + int(one), int(numbers[two])) for one, two in np.argwhere(alike)]
    return [(one, two) for one, two in pairs if golden.digests[one] != other.digests[two]]


def _standardised(thumbnails: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    """Return thumbnails without their mean, of length 1; those without contrast are 0."""
    import numpy as np

    values = thumbnails.astype(np.float32)
    values -= values.mean(axis=1, keepdims=True)
    contrast = values.std(axis=1, keepdims=True)
    values /= np.linalg.norm(values, axis=1, keepdims=True).clip(1e-6)
    standardised: NDArray[np.float32] = np.where(contrast < LEAST_CONTRAST, 0, values).astype(np.float32)
    return standardised
