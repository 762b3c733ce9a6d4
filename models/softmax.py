# SPDX-License-Identifier: Apache-2.0
"""Logits to probabilities, for classifiers that output logits; the serving container carries a copy of this module."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def softmax(logits: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return each row's exponentials over their sum, the largest logit subtracted first."""
    import numpy as np

    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def probabilities_of(scores: "NDArray[np.float32]", output: str) -> "NDArray[np.float32]":
    """Return the probabilities, [count, classes], that scores are or stand for; ``output`` is their kind, such as 'logits'."""
    return softmax(scores) if output == "logits" else scores
