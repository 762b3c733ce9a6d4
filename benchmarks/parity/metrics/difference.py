# SPDX-License-Identifier: Apache-2.0
"""How far an artifact's probabilities are from the Keras model's."""

from typing import TYPE_CHECKING

from edgeferry.benchmarks.parity.expected import Expected
from edgeferry.benchmarks.parity.metric import Metric
from edgeferry.benchmarks.report.words import difference

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def differences(probabilities: "NDArray[np.float32]", expected: Expected) -> "NDArray[np.float32]":
    """Return each image's largest difference of any probability, [count]."""
    import numpy as np

    largest: NDArray[np.float32] = np.abs(probabilities - expected.probabilities).max(axis=1)
    return largest


def max_difference(probabilities: "NDArray[np.float32]", expected: Expected) -> float:
    """Return the largest difference of all images."""
    return float(differences(probabilities, expected).max())


def mean_difference(probabilities: "NDArray[np.float32]", expected: Expected) -> float:
    """Return the mean over images of each one's largest difference."""
    return float(differences(probabilities, expected).mean())


METRICS = (
    Metric(
        name="max_difference",
        title="max difference",
        short="max\ndiff",
        meaning="The largest difference of any probability from the Keras model's.",
        compute=max_difference,
        text=difference,
        tolerance="max_difference",
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
)
