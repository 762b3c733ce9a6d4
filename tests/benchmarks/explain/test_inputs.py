# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about the image, fitted to what a small classifier of numpy says of changed images."""

from collections.abc import Callable
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.explain.inputs import input_fits
from edgeferry.models.decision import softmax
from edgeferry.models.preprocessing import Preprocessing

HOW: Final = Preprocessing(8, 8, "rgb", (127.5,) * 3, (127.5,) * 3)
DRAW: Final = np.random.default_rng(3)
IMAGES: Final = DRAW.uniform(-1, 1, (24, 8, 8, 3)).astype(np.float32)
WEIGHTS: Final = DRAW.normal(0, 0.6, (8 * 8 * 3, 5))


def predict(images: Any) -> Any:
    return softmax(np.tanh(images.reshape(len(images), -1)) @ WEIGHTS).astype(np.float32)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda images: images[..., ::-1], "order blue, green, red"),
        (lambda images: images[:, :, ::-1], "mirrored left to right"),
        (lambda images: images.swapaxes(1, 2), "rows and columns"),
        (lambda images: np.pad(images, [(0, 0), (1, 0), (0, 0), (0, 0)])[:, :8], "moved by 1 rows and 0 columns"),
        (lambda images: 0.5 * images + 0.5, "upper half of the range"),
        (lambda images: images / 255, "multiplied by 0.003922"),
        (lambda images: 1.1 * images, "multiplied by 1.10"),
        (lambda images: images + 0.2, "10 % brighter"),
    ],
)
def test_what_was_done_to_the_image_fits_best(change: Callable[[Any], Any], words: str) -> None:
    fit, images = min(input_fits(IMAGES, predict(change(IMAGES)), predict, HOW), key=lambda each: each[0].left)
    assert np.abs(images - change(IMAGES)).max() < 0.1
    assert words in fit.sentence
    assert fit.left < 0.02
