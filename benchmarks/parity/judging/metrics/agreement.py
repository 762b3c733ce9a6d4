# SPDX-License-Identifier: Apache-2.0
"""How often an artifact and the Keras model predict the same class."""

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.judging.evidence import at_least
from edgeferry.benchmarks.parity.judging.expected import Expected
from edgeferry.benchmarks.parity.judging.metric import Metric
from edgeferry.benchmarks.report.words import percent
from edgeferry.models.binomial import at_most

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# How often a sound artifact may be failed by the choice of golden images.
CHANCE: Final = 0.01


def agrees(probabilities: "NDArray[np.float32]", expected: Expected) -> "NDArray[np.bool_]":
    """Return for each golden image whether it has the Keras model's class, [golden, 1].

    Of a multi-label classifier, for each label whether it holds as it does for the Keras model, [golden, labels].
    """
    return expected.decision.agreement(probabilities[: expected.golden], expected.probabilities[: expected.golden])


def agreeing(probabilities: "NDArray[np.float32]", expected: Expected) -> int:
    """Return how many golden images have the Keras model's class; of a multi-label classifier, that of the worst label."""
    return int(agrees(probabilities, expected).sum(axis=0).min())


def top1_agreement(probabilities: "NDArray[np.float32]", expected: Expected) -> float:
    """Return the fraction of golden images with the Keras model's class, of the worst label where there are several."""
    return agreeing(probabilities, expected) / expected.golden


def agreement_shown(probabilities: "NDArray[np.float32]", expected: Expected) -> float:
    """Return what the golden images show: at least this fraction of all images agrees, at 95 %."""
    return at_least(agreeing(probabilities, expected), expected.golden)


def allowed_disagreements(images: int, agreement: float) -> int:
    """Return how many of the images may have another class where a fraction of all images has to agree.

    An artifact that agrees as often as the tolerance says disagrees on more of a sample of images once in a hundred times
    (binomial distribution): few images make coarse fractions, and a sound artifact must not fail by chance.
    """
    if agreement >= 1:
        return 0
    return bisect_left(range(images + 1), 1 - CHANCE, key=lambda count: at_most(count, images, 1 - agreement))


def least_agreement(agreement: float, images: int) -> float:
    """Return the smallest fraction of a sample of images that is within a tolerance for all images."""
    return (images - allowed_disagreements(images, agreement)) / images


METRICS = (
    Metric(
        name="top1_agreement",
        title="agreement",
        short="agree-\nment",
        meaning="The fraction of golden images with the same top class as the Keras model; of several labels, "
        "where the worst label holds as it does there.",
        compute=top1_agreement,
        text=percent,
        counted=True,
        tolerance="top1_agreement",
        direction="at_least",
        limit=least_agreement,
        order=10,
    ),
    Metric(
        name="agreement_shown",
        title="at least",
        short="at\nleast",
        meaning="What the golden images show: at least this fraction of all images agrees, with 95 % confidence.",
        compute=agreement_shown,
        text=percent,
        order=11,
    ),
)
