# SPDX-License-Identifier: Apache-2.0
"""What a number of images shows: exact bounds on how often an artifact agrees, and on how much accuracy it loses.

All bounds are one-sided at 95 %, Clopper and Pearson's for a fraction (Biometrika 26, 1934).
"""

from typing import Final

from edgeferry.models.binomial import smallest_chance

CONFIDENCE: Final = 0.95
# A check passes only where its images show that at least this fraction of all images agrees: 29 without a difference do.
LEAST_SHOWN: Final = 0.90
# An answer to "how many images are needed" beyond this is no use to anybody.
MOST_IMAGES: Final = 1_000_000


def at_least(count: int, images: int, confidence: float = CONFIDENCE) -> float:
    """Return the lower bound of a fraction that is seen on ``count`` of so many images; 0 for none of them."""
    return 0.0 if count <= 0 else smallest_chance(count, images, 1 - confidence)


def at_most(count: int, images: int, confidence: float = CONFIDENCE) -> float:
    """Return the upper bound of a fraction that is seen on ``count`` of so many images."""
    return 1 - at_least(images - count, images, confidence)


def images_needed(rate: float, shown: float = LEAST_SHOWN) -> int | None:
    """Return how many images show an agreement of at least ``shown`` where so many of them, a fraction, differ.

    Returns None where no number of images does: the fraction that differs is too large for it.
    """
    if rate >= 1 - shown:
        return None
    few, many = 0, 1
    while at_least(many - round(rate * many), many) < shown:
        few, many = many, 2 * many
        if many > MOST_IMAGES:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        enough = at_least(middle - round(rate * middle), middle) >= shown
        few, many = (few, middle) if enough else (middle, many)
    return many


def loss_interval(worse: int, better: int, images: int) -> tuple[float, float]:
    """Return bounds of a loss of accuracy, each at 95 %.

    ``worse`` images are right in the reference alone, ``better`` in the artifact alone. Exact given the number of both, as
    McNemar's test is.
    """
    apart = worse + better
    if apart == 0:
        return 0.0, at_most(0, images)
    low, high = at_least(worse, apart), at_most(worse, apart)
    return (2 * low - 1) * apart / images, (2 * high - 1) * apart / images
