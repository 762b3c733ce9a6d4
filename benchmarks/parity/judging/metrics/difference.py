# SPDX-License-Identifier: Apache-2.0
"""How far an artifact's probabilities are from the Keras model's, and from what its precision explains."""

import math
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.judging.expected import Expected
from edgeferry.benchmarks.parity.judging.metric import Metric
from edgeferry.benchmarks.report.words import difference, times

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of the images, the largest 1 % of differences are left to chance: the largest of all grows with the number of images.
QUANTILE: Final = 0.99
# From this number of images on, their mean difference is steady enough for the tolerance as it is.
STEADY: Final = 360
# Where a precision explains less than this, other things than rounding do: float32 in another order, and small weights that a
# converter multiplies into smaller ones, such as those after a division by 255, which float16 holds with fewer digits.
LEAST_EXPLAINED: Final = 5e-5


def differences(probabilities: "NDArray[np.float32]", expected: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return each image's largest difference of any probability, [count]."""
    import numpy as np

    largest: NDArray[np.float32] = np.abs(probabilities - expected).max(axis=1)
    return largest


def p99_difference(probabilities: "NDArray[np.float32]", expected: Expected) -> float:
    """Return the difference that 99 % of the golden images do not exceed."""
    import numpy as np

    count = expected.golden
    found = differences(probabilities[:count], expected.probabilities[:count])
    return float(np.quantile(found, QUANTILE, method="inverted_cdf"))


def mean_difference(probabilities: "NDArray[np.float32]", expected: Expected) -> float:
    """Return the mean over golden images of each one's largest difference."""
    return float(differences(probabilities[: expected.golden], expected.probabilities[: expected.golden]).mean())


def explained_difference(_probabilities: "NDArray[np.float32]", expected: Expected) -> float | None:
    """Return the mean difference of the simulated copy over the golden images, None where there is none."""
    return None if expected.simulated is None else mean_difference(expected.simulated, expected)


def times_explained(probabilities: "NDArray[np.float32]", expected: Expected) -> float | None:
    """Return the mean difference over golden images and probes, divided by that of the simulated copy; None without one."""
    if expected.simulated is None:
        return None
    explained = float(differences(expected.simulated, expected.probabilities).mean())
    return float(differences(probabilities, expected.probabilities).mean()) / max(explained, LEAST_EXPLAINED)


def most_times(tolerance: float, images: int) -> float:
    """Return how many times the mean difference of so many images may be what is explained.

    Means of fewer images scatter: of sound int8 files up to 1.45 at 360, 1.7 at 100, 2.7 at 30 images (99 %, docs/parity.md).
    """
    return 1 + (tolerance - 1) * max(1.0, math.sqrt(STEADY / images))


METRICS = (
    Metric(
        name="p99_difference",
        title="p99 difference",
        short="p99\ndiff",
        meaning="The difference of any probability from the Keras model's that 99 % of the golden images do not exceed.",
        compute=p99_difference,
        text=difference,
        tolerance="p99_difference",
        order=30,
    ),
    Metric(
        name="mean_difference",
        title="mean difference",
        short="mean\ndiff",
        meaning="The mean over golden images of each one's largest difference.",
        compute=mean_difference,
        text=difference,
        tolerance="mean_difference",
        order=40,
    ),
    Metric(
        name="explained_difference",
        title="expected difference",
        short="expec-\nted",
        meaning="What the precision alone explains: the mean difference of a copy of the model with simulated rounding.",
        compute=explained_difference,
        text=difference,
        is_detail=True,
        order=41,
    ),
    Metric(
        name="times_explained",
        title="seen / expected",
        short="seen/\nexp.",
        meaning="The mean difference over golden images and probes, divided by what the precision alone explains.",
        compute=times_explained,
        text=times,
        tolerance="times_explained",
        limit=most_times,
        is_optional=True,
        order=25,
    ),
)
