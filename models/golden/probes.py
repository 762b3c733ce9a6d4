# SPDX-License-Identifier: Apache-2.0
"""Probes: images without labels near the classifier's borders between classes, which sharpen a small golden set.

They are golden images blended with one of another class, or with less contrast or more noise; of a few strengths the one is kept
for which the classifier is least certain. They need only the Keras model's own scores.
"""

from typing import TYPE_CHECKING, Final

from edgeferry.models.decision import ONE_LABEL, Decision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    Scores = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

# Probes fill a golden set up to so many images, and are at most MOST: a mean over some 400 images is steady (docs/parity.md).
ENOUGH: Final = 480
MOST: Final = 360
# Each one runs on every target, so that there are fewer where they are large: 100 of 224 x 224 pixels.
MOST_PIXELS: Final = 100 * 224 * 224
SEED: Final = 20
# The strengths tried of each kind of change: the other image's share, the contrast that is left, noise in pixel values.
BLENDS: Final = (0.35, 0.5)
CONTRASTS: Final = (0.7, 0.45)
NOISES: Final = (12.0, 28.0)


def probe_count(golden: int, size: int) -> int:
    """Return how many probes a golden set of so many images, of ``size`` pixels each, needs."""
    return max(0, min(MOST, MOST_PIXELS // size, ENOUGH - golden))


def make_probes(
    pixels: "NDArray[np.uint8]", scores: "NDArray[np.float32]", predict: "Scores", decision: Decision = ONE_LABEL
) -> "tuple[NDArray[np.uint8], NDArray[np.float32]]":
    """Return probes and their scores, made of golden images [count, height, width, channels] with these scores.

    ``predict`` returns the Keras model's scores, [count, classes], for pixels. Both results are empty where the golden set is
    large enough without.
    """
    import numpy as np

    if not probe_count(len(pixels), _size(pixels)):
        return pixels[:0], scores[:0]
    weak, strong = (np.stack(list(_changed(pixels, decision.groups(scores), strength))) for strength in (0, 1))
    of_weak, of_strong = predict(weak), predict(strong)
    use = decision.margins(of_strong) < decision.margins(of_weak)
    shape = (-1, *(1,) * (pixels.ndim - 1))
    return np.where(use.reshape(shape), strong, weak), np.where(use[:, None], of_strong, of_weak)


def _size(pixels: "NDArray[np.uint8]") -> int:
    return int(pixels.shape[1] * pixels.shape[2])


def _changed(pixels: "NDArray[np.uint8]", classes: "NDArray[np.int64]", strength: int) -> "Iterator[NDArray[np.uint8]]":
    """Yield every probe at one strength; the same images and partners are drawn for each strength."""
    import numpy as np

    rng = np.random.default_rng(SEED)
    for number in range(probe_count(len(pixels), _size(pixels))):
        at = int(rng.integers(len(pixels)))
        others = np.flatnonzero(classes != classes[at])
        image, partner = pixels[at].astype(np.float32), pixels[int(rng.choice(others)) if len(others) else at]
        noise = rng.standard_normal(image.shape).astype(np.float32)
        if number % 2 == 0:
            image += BLENDS[strength] * (partner - image)
        elif number % 4 == 1:
            image = image.mean() + CONTRASTS[strength] * (image - image.mean())
        else:
            image += NOISES[strength] * noise
        yield np.clip(np.rint(image), 0, 255).astype(np.uint8)
