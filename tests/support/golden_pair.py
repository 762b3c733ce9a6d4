# SPDX-License-Identifier: Apache-2.0
"""A few random images and what a Keras model predicts for them, as a reference's folder holds them."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeferry.models.preprocessing import Preprocessing, normalise
from edgeferry.models.reference import PIXELS, SCORES

if TYPE_CHECKING:
    import keras

IMAGES: Final = 4


def write_golden_pair(folder: Path, model: "keras.Model", how: Preprocessing) -> None:
    """Write images and the model's probabilities, so that a rewritten graph can be held against it."""
    pixels = np.random.default_rng(2).integers(0, 256, (IMAGES, how.height, how.width, how.channels), np.uint8)
    np.save(folder / PIXELS, pixels)
    np.save(folder / SCORES, np.asarray(model(normalise(pixels, how), training=False)))
