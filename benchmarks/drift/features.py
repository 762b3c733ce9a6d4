# SPDX-License-Identifier: Apache-2.0
"""What is compared of images and of the answers to them: a number for each image."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

# So many images are looked at at a time.
BATCH: Final = 64


@dataclass(frozen=True)
class Feature:
    """A number for each image; ``of`` computes it, [count], from pixels / 255, [count, height, width, channels], float32."""

    name: str
    meaning: str
    of: "Callable[[NDArray[np.float32]], NDArray[np.float32]]"


def _brightness(pixels: "NDArray[np.float32]") -> "NDArray[np.float32]":
    found: NDArray[np.float32] = pixels.mean(axis=(1, 2, 3))
    return found


def _contrast(pixels: "NDArray[np.float32]") -> "NDArray[np.float32]":
    found: NDArray[np.float32] = pixels.mean(axis=3).std(axis=(1, 2))
    return found


def _sharpness(pixels: "NDArray[np.float32]") -> "NDArray[np.float32]":
    import numpy as np

    gray = pixels.mean(axis=3)
    found: NDArray[np.float32] = np.abs(np.diff(gray, axis=1)).mean(axis=(1, 2)) + np.abs(np.diff(gray, axis=2)).mean(axis=(1, 2))
    return found


def _colour(pixels: "NDArray[np.float32]") -> "NDArray[np.float32]":
    found: NDArray[np.float32] = pixels.std(axis=3).mean(axis=(1, 2))
    return found


FEATURES: Final = (
    Feature("brightness", "the mean of all pixels, 0 to 1", _brightness),
    Feature("contrast", "the standard deviation of the gray image", _contrast),
    Feature("sharpness", "the mean difference of neighbouring pixels of the gray image", _sharpness),
    Feature("colour", "the mean standard deviation of a pixel's channels; 0 in gray images", _colour),
)
CONFIDENCE: Final = "confidence"
ENTROPY: Final = "entropy"
LABELS: Final = "labels"
MEANINGS: Final = {
    **{each.name: each.meaning for each in FEATURES},
    CONFIDENCE: "the highest probability",
    ENTROPY: "the entropy of the probabilities, in bits",
    LABELS: "how often each label is the answer",
}


def image_features(pixels: "NDArray[np.uint8]") -> "dict[str, NDArray[np.float32]]":
    """Return the features of images, [count] each, by name."""
    import numpy as np

    parts = [
        [feature.of((pixels[at : at + BATCH] / 255).astype(np.float32)) for feature in FEATURES]
        for at in range(0, len(pixels), BATCH)
    ]
    return {feature.name: np.concatenate([part[number] for part in parts]) for number, feature in enumerate(FEATURES)}


def answer_features(probabilities: "NDArray[np.float32]") -> "dict[str, NDArray[np.float32]]":
    """Return the features of probabilities, [count, labels]: how sure the classifier is."""
    import numpy as np

    safe = probabilities.astype(np.float64).clip(1e-12, 1)
    return {CONFIDENCE: probabilities.max(axis=1), ENTROPY: -(safe * np.log2(safe)).sum(axis=1).astype(np.float32)}
