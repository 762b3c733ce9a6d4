# SPDX-License-Identifier: Apache-2.0
"""How often an artifact is right, and how much less often than the Keras model."""

from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.judging.evidence import loss_interval
from edgeferry.benchmarks.parity.judging.expected import Expected
from edgeferry.benchmarks.parity.judging.metric import Metric
from edgeferry.benchmarks.report.words import percent, points
from edgeferry.models.binomial import sign_test

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A loss that chance alone explains more often than this is not held against an artifact.
CHANCE: Final = 0.01


def accuracy(probabilities: "NDArray[np.float32]", expected: Expected) -> float | None:
    """Return the fraction of golden images whose answer is right; of a multi-label classifier, every label of it."""
    if not expected.is_labelled:
        return None
    return float(expected.decision.right(probabilities[: expected.golden], expected.classes).mean())


def right_in_one(probabilities: "NDArray[np.float32]", expected: Expected) -> tuple[int, int]:
    """Return how many golden images only the Keras model has right, and how many only the artifact."""
    count = expected.golden
    found, reference = (
        expected.decision.right(each[:count], expected.classes) for each in (probabilities, expected.probabilities)
    )
    return int((reference & ~found).sum()), int((found & ~reference).sum())


def accuracy_loss(probabilities: "NDArray[np.float32]", expected: Expected) -> float | None:
    """Return how much of the Keras model's accuracy is lost, a fraction of the golden images; negative is a gain.

    A loss that chance explains is 0: an exact one-sided McNemar test does not show it at 1 %.
    """
    if not expected.is_labelled:
        return None
    worse, better = right_in_one(probabilities, expected)
    return (worse - better) / expected.golden if worse <= better or sign_test(worse, better) <= CHANCE else 0.0


def accuracy_loss_most(probabilities: "NDArray[np.float32]", expected: Expected) -> float | None:
    """Return the upper bound of the loss, at 95 %."""
    if not expected.is_labelled:
        return None
    return loss_interval(*right_in_one(probabilities, expected), expected.golden)[1]


METRICS = (
    Metric(
        name="accuracy",
        title="accuracy",
        short="accu-\nracy",
        meaning="The fraction of golden images that the artifact classifies right.",
        compute=accuracy,
        text=percent,
        counted=True,
        order=20,
    ),
    Metric(
        name="accuracy_loss",
        title="accuracy loss",
        short="accu.\nloss",
        meaning="How much of the Keras model's accuracy is lost, 0 where an exact McNemar test does not show a loss at 1 %.",
        compute=accuracy_loss,
        text=points,
        tolerance="accuracy_loss",
        is_optional=True,
        order=60,
    ),
    Metric(
        name="accuracy_loss_most",
        title="loss at most",
        short="loss\nat\nmost",
        meaning="What the golden images show: at most this much accuracy is lost, with 95 % confidence (exact, paired).",
        compute=accuracy_loss_most,
        text=points,
        is_detail=True,
        order=61,
    ),
)
