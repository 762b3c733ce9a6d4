# SPDX-License-Identifier: Apache-2.0
"""Three small classifiers whose configs can be wrong in every way: gray digits, tinted digits in BGR, shapes of any aspect."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeferry.models.config.spec import ModelSpec, normalisation_of_range, read_spec
from edgeferry.models.image_labels import read_labels
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.preprocessing import Preprocessing, normalise
from edgeferry.models.system.places import ROOT

if TYPE_CHECKING:
    import keras
    from numpy.typing import NDArray

GOLDEN: Final = 400
TRAINED: Final = 1200
SHAPES: Final = ("circle", "cold", "cross", "striped", "tall", "wide")
# Red, green and blue of most shapes and of what is behind them; the other way round in the class "cold".
WARM: Final = np.array([230.0, 150.0, 60.0])
COLD: Final = np.array([50.0, 80.0, 120.0])
TINTS: Final = ("blue", "cyan", "green", "orange", "red", "yellow")
TINT: Final = ((0.2, 0.3, 1.0), (0.1, 0.9, 1.0), (0.2, 0.9, 0.2), (1.0, 0.5, 0.1), (1.0, 0.2, 0.2), (1.0, 0.9, 0.1))
TINTED: Final = Preprocessing(24, 20, "bgr", (40.0, 45.0, 50.0), (60.0, 70.0, 80.0), "bicubic", "crop")
OF_SHAPES: Final = Preprocessing(48, 40, "rgb", *normalisation_of_range(-1, 1, 3), "bilinear", "crop")


def digits(folder: Path) -> ModelSpec:
    """Return the config of the default classifier, trained in a folder."""
    from edgeferry.models.digits import train

    toml = folder / "digits.toml"
    text = (ROOT / "models" / "digits.toml").read_text(encoding="utf-8")
    toml.write_text(text.replace("../build/digits/source/", "source/"), encoding="utf-8")
    spec = read_spec(toml)
    train(spec)
    return spec


def tinted(folder: Path) -> ModelSpec:
    """Return the config of a classifier of six tints, in BGR, with means and deviations of its own."""
    from sklearn.datasets import load_digits

    images = load_digits().images

    def picture(number: int, draw: np.random.Generator) -> "NDArray[np.float64]":
        tint = np.asarray(TINT[number % len(TINT)]) * draw.uniform(0.55, 1.0) + draw.normal(0, 0.11, 3)
        wide = np.pad(images[number % len(images)] / 16, ((0, 0), (2, 2)))
        pixels: NDArray[np.float64] = 255 * wide[..., None] * tint + draw.normal(0, 12, (8, 12, 3))
        return pixels

    return _classifier(folder / "tinted", TINTS, TINTED, picture)


def shapes(folder: Path) -> ModelSpec:
    """Return the config of a classifier of six shapes in photographs of any size and aspect, seen at 48 x 40."""

    def picture(number: int, draw: np.random.Generator) -> "NDArray[np.float64]":
        height, width = int(draw.integers(96, 161)), int(draw.integers(96, 161))
        side = min(height / 48, width / 40)
        y, x = np.mgrid[:height, :width]
        down, right = (y - height / 2) / side - draw.normal(0, 2), (x - width / 2) / side - draw.normal(0, 2)
        name = SHAPES[number % len(SHAPES)]
        inside = _inside(name, down, right, draw.uniform(9, 14))[..., None]
        front, behind = (COLD[::-1], WARM[::-1]) if name == "cold" else (WARM, COLD)
        front, behind = (each + draw.normal(0, 30, 3) for each in (front, behind))
        stripes = np.where((x + y) // 2 % 2, 1.0, 0.45 if name == "striped" else 1.0)[..., None]
        pixels: NDArray[np.float64] = np.where(inside, front * stripes, behind) + draw.normal(0, 25, (height, width, 3))
        return pixels

    return _classifier(folder / "shapes", SHAPES, OF_SHAPES, picture)


def _inside(name: str, down: "NDArray[np.float64]", right: "NDArray[np.float64]", radius: float) -> "NDArray[np.bool_]":
    """Return which pixels a shape covers."""
    taller, wider = {"tall": (0.8, 1.25), "wide": (1.25, 0.8)}.get(name, (1.0, 1.0))
    down, right = np.abs(down * taller), np.abs(right * wider)
    round_: NDArray[np.bool_] = down**2 + right**2 < radius**2
    crossed: NDArray[np.bool_] = (np.minimum(down, right) < 0.4 * radius) & (np.maximum(down, right) < radius)
    return crossed if name == "cross" else round_


def _classifier(
    folder: Path,
    labels: tuple[str, ...],
    how: Preprocessing,
    picture: Callable[[int, np.random.Generator], "NDArray[np.float64]"],
) -> ModelSpec:
    """Return the config of a small network trained on pictures, with golden images next to it."""
    from PIL import Image

    draw = np.random.default_rng(17)
    for part, count in (("golden", GOLDEN), ("train", TRAINED)):
        for number in range(count):
            file = folder / part / labels[number % len(labels)] / f"{number:04}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number, draw).clip(0, 255).astype(np.uint8)).save(file)
    spec = ModelSpec(folder.name, folder / "model.toml", folder / "model.keras", labels, how, folder / "golden")
    network = _trained(folder / "train", spec)
    network.save(spec.model)
    return spec


def _trained(images: Path, spec: ModelSpec) -> "keras.Model":
    import keras
    from keras import layers

    keras.utils.set_random_seed(5)
    how, found = spec.preprocessing, find_images(images)
    image = keras.Input((how.height, how.width, 3))
    x = layers.Conv2D(16, 3, strides=2, padding="same", activation="relu")(image)
    for filters in (24, 48):
        x = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(layers.Conv2D(filters, 3, strides=2, padding="same")(x)))
    x = layers.Dense(48, activation="relu")(layers.Dropout(0.3)(layers.Flatten()(x)))
    model = keras.Model(image, layers.Dense(len(spec.labels), activation="softmax")(x))
    model.compile(keras.optimizers.Adam(2e-3), loss="sparse_categorical_crossentropy")
    inputs, classes = normalise(read_pixels(found, how), how), read_labels(found, spec.labels)
    model.fit(inputs, classes, batch_size=32, epochs=16, verbose=0)
    return model
