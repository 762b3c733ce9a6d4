# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about scores, fitted to probabilities that were changed in one way."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.explain.outputs import output_fits
from edgeferry.models.decision import MULTILABEL, softmax

LABELS: Final = ("ant", "bee", "cat", "dog", "eel")
LOGITS: Final = np.random.default_rng(7).normal(0, 3, (200, len(LABELS)))
EXPECTED: Final = softmax(LOGITS).astype(np.float32)
BIAS: Final = np.array([0, 0, 1.0, 0, 0])


def best(scores: Any, output: str = "probabilities", expected: Any = EXPECTED) -> Any:
    scores = scores.astype(np.float32)
    found = softmax(scores) if output == "logits" else scores
    return min(output_fits(scores, found, expected, output, LABELS), key=lambda fit: fit.left)


@pytest.mark.parametrize(
    ("scores", "stage", "words"),
    [
        (EXPECTED[:, [1, 0, 2, 3, 4]], "labels", "'ant' and 'bee' exchanged"),
        (EXPECTED[:, [1, 2, 3, 4, 0]], "labels", "shifted by one"),
        (LOGITS, "output head", "softmax is missing"),
        (softmax(EXPECTED), "output head", "softmax is applied twice"),
        (softmax(2 * LOGITS), "output head", "multiplied by 2.00"),
        (softmax(LOGITS + BIAS), "output head", "bias: cat +1.0"),
    ],
)
def test_what_was_done_to_the_scores_fits_best(scores: Any, stage: str, words: str) -> None:
    fit = best(scores)
    assert fit.stage == stage
    assert words in fit.sentence
    assert fit.left < 0.01


@pytest.mark.parametrize("change", [lambda logits: 0.5 * logits, lambda logits: logits + BIAS])
def test_labels_that_hold_independently_have_logits_too(change: Callable[[Any], Any]) -> None:
    expected = (1 / (1 + np.exp(-LOGITS))).astype(np.float32)
    fit = best(1 / (1 + np.exp(-change(LOGITS))), MULTILABEL, expected)
    assert (fit.stage, fit.left < 0.01) == ("output head", True)


def test_noise_exchanges_no_classes() -> None:
    noisy = softmax(LOGITS + np.random.default_rng(1).normal(0, 1, LOGITS.shape)).astype(np.float32)
    assert "labels" not in {fit.stage for fit in output_fits(noisy, noisy, EXPECTED, "probabilities", LABELS)}
