# SPDX-License-Identifier: Apache-2.0
"""The network that is timed: MobileNetV2, 0.35 at 96 x 96 by default, random weights, batch statistics from photographs.

So its outputs differ between images, and a converter cannot leave out its batch normalisations.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np

SIDE: Final = 96
CLASSES: Final = 10
IMAGES: Final = 100


@dataclass(frozen=True)
class Size:
    """How large the network's images are, how wide it is, and how many golden images there are."""

    side: int = SIDE
    alpha: float = 0.35
    images: int = IMAGES


def mobilenet(place: Path, size: Size = Size()) -> ModelSpec:
    """Return the config of the network, written into a folder with golden and calibration images."""
    import keras
    import numpy as np

    keras.utils.set_random_seed(1)
    model = keras.applications.MobileNetV2((size.side, size.side, 3), alpha=size.alpha, weights=None, classes=CLASSES)
    photographs = _patches(3 * size.images, size.side)
    golden, calibration = photographs[::3], photographs[1 : 3 * IMAGES : 3]
    scaled = golden.astype(np.float32) / 127.5 - 1
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
    # As many pixels whatever their size.
    seen = scaled[: IMAGES * SIDE**2 // size.side**2]
    for _ in range(20):
        model(seen, training=True)
    head = model.layers[-1]
    features = keras.Model(model.input, head.input).predict(scaled, verbose=0)
    kernel = np.random.default_rng(2).normal(size=head.kernel.shape).astype(np.float32)
    kernel *= 3 / ((features - features.mean(axis=0)) @ kernel).std(axis=0)
    head.set_weights([kernel, -(features.mean(axis=0) @ kernel)])
    model.save(place / "model.keras")
    labels = model.predict(scaled, verbose=0).argmax(axis=1)
    np.savez(place / "golden.npz", images=golden, labels=labels)
    np.savez(place / "calibration.npz", images=calibration)
    return ModelSpec(
        name="mobilenet",
        path=place / "model.toml",
        model=place / "model.keras",
        labels=tuple(map(str, range(CLASSES))),
        preprocessing=Preprocessing(size.side, size.side, "rgb", (127.5,) * 3, (127.5,) * 3),
        golden=place / "golden.npz",
        calibration=place / "calibration.npz",
    )


def _patches(count: int, side: int) -> "np.ndarray[Any, np.dtype[np.uint8]]":
    import numpy as np
    from sklearn.datasets import load_sample_images

    pictures = load_sample_images().images
    draw = np.random.default_rng(0)
    cuts = []
    for number in range(count):
        picture = pictures[number % len(pictures)]
        top, left = (int(draw.integers(size - side)) for size in picture.shape[:2])
        cuts.append(picture[top : top + side, left : left + side])
    return np.stack(cuts)
