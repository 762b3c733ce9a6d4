# SPDX-License-Identifier: Apache-2.0
"""How often an artifact is right."""

from typing import TYPE_CHECKING

from edgeferry.benchmarks.parity.expected import Expected
from edgeferry.benchmarks.parity.metric import Metric
from edgeferry.benchmarks.report.words import percent

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def accuracy(probabilities: "NDArray[np.float32]", expected: Expected) -> float | None:
    """Return the fraction of images whose highest probability, the first of equals, is that of the true class.

    None where the true classes are unknown.
    """
    if expected.classes is None:
        return None
    return float((probabilities.argmax(axis=1) == expected.classes).mean())


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
)
