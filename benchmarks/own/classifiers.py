# SPDX-License-Identifier: Apache-2.0
"""Small classifiers whose configs can be wrong in every way: gray digits, tinted digits in BGR, shapes of any aspect.

And two whose answer is not the most probable label: two shapes with a threshold, and marks of which a picture has any number.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeferry.models.config.spec import ModelSpec, normalisation_of_range, read_spec
from edgeferry.models.decision import MULTILABEL
from edgeferry.models.image_labels import read_label_sets_if_any, read_labels
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
STRIPED: Final = ("circle", "striped")
# Marks that any picture can have, and how often each does.
MARKS: Final = ("bar", "dark", "disc", "pole", "warm")
OFTEN: Final = (0.4, 0.25, 0.5, 0.15, 0.4)
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
    return _classifier(folder / "shapes", SHAPES, OF_SHAPES, lambda number, draw: _shape(SHAPES[number % len(SHAPES)], draw))


def striped(folder: Path) -> ModelSpec:
    """Return the config of a classifier of two shapes, the second one only from a probability of 0.8."""

    def picture(number: int, draw: np.random.Generator) -> "NDArray[np.float64]":
        return _shape(STRIPED[number % len(STRIPED)], draw, noise=60)

    return replace(_classifier(folder / "two", STRIPED, OF_SHAPES, picture), threshold=0.8)


def _shape(name: str, draw: np.random.Generator, noise: float = 25) -> "NDArray[np.float64]":
    height, width, (down, right) = _places(draw)
    inside = _inside(name, down, right, draw.uniform(9, 14))[..., None]
    front, behind = (COLD[::-1], WARM[::-1]) if name == "cold" else (WARM, COLD)
    front, behind = (each + draw.normal(0, 30, 3) for each in (front, behind))
    y, x = np.mgrid[:height, :width]
    stripes = np.where((x + y) // 2 % 2, 1.0, 0.45 if name == "striped" else 1.0)[..., None]
    pixels: NDArray[np.float64] = np.where(inside, front * stripes, behind) + draw.normal(0, noise, (height, width, 3))
    return pixels


def _places(draw: np.random.Generator) -> "tuple[int, int, tuple[NDArray[np.float64], NDArray[np.float64]]]":
    """Return the height and width of a picture, and how far each pixel is from a place near its middle, down and right."""
    height, width = int(draw.integers(96, 161)), int(draw.integers(96, 161))
    side = min(height / 48, width / 40)
    y, x = np.mgrid[:height, :width]
    return height, width, ((y - height / 2) / side - draw.normal(0, 2), (x - width / 2) / side - draw.normal(0, 2))


def marks(folder: Path) -> ModelSpec:
    """Return the config of a classifier of pictures that have any number of marks, one sigmoid for each."""
    held = np.random.default_rng(23).random((GOLDEN + TRAINED, len(MARKS))) < OFTEN

    def picture(number: int, draw: np.random.Generator) -> "NDArray[np.float64]":
        return _marked(dict(zip(MARKS, held[number], strict=True)), draw)

    spec = ModelSpec("marks", folder / "marks" / "model.toml", folder / "marks" / "model.keras", MARKS, OF_SHAPES, folder)
    spec = replace(spec, golden=folder / "marks" / "golden", output=MULTILABEL)
    draw, numbers = np.random.default_rng(19), iter(range(len(held)))
    for part, count in (("golden", GOLDEN), ("train", TRAINED)):
        place, lines = folder / "marks" / part, ["file,label"]
        for number in (next(numbers) for _ in range(count)):
            _save(picture(number, draw), place / f"{number:04}.png")
            names = [name for name, there in zip(MARKS, held[number], strict=True) if there]
            lines.append(f"{number:04}.png,{'|'.join(names) or '-'}")
        (place / "labels.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    _trained(folder / "marks" / "train", spec).save(spec.model)
    return spec


def _marked(has: dict[str, bool], draw: np.random.Generator) -> "NDArray[np.float64]":
    """Return a picture with some of the marks."""
    height, width, (down, right) = _places(draw)
    front, behind = (WARM, COLD[::-1]) if has["warm"] else (COLD, WARM[::-1] * 0.6)
    pixels = np.broadcast_to(behind + draw.normal(0, 30, 3), (height, width, 3)).copy()
    colour = front + draw.normal(0, 30, 3)
    if has["disc"]:
        pixels[_inside("circle", down, right - 6, draw.uniform(6, 10))] = colour
    if has["bar"]:
        pixels[(np.abs(down - 9) < 2.5) & (np.abs(right) < 14)] = colour
    if has["pole"]:
        pixels[(np.abs(right + 9) < 2.5) & (np.abs(down) < 14)] = colour
    if has["dark"]:
        pixels *= 0.6
    return pixels + draw.normal(0, 35, pixels.shape)


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
    draw = np.random.default_rng(17)
    for part, count in (("golden", GOLDEN), ("train", TRAINED)):
        for number in range(count):
            _save(picture(number, draw), folder / part / labels[number % len(labels)] / f"{number:04}.png")
    spec = ModelSpec(folder.name, folder / "model.toml", folder / "model.keras", labels, how, folder / "golden")
    network = _trained(folder / "train", spec)
    network.save(spec.model)
    return spec


def _save(picture: "NDArray[np.float64]", file: Path) -> None:
    from PIL import Image

    file.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(file)


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
    several = spec.output == MULTILABEL
    model = keras.Model(image, layers.Dense(len(spec.labels), activation="sigmoid" if several else "softmax")(x))
    loss = "binary_crossentropy" if several else "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(2e-3), loss=loss)
    read = read_label_sets_if_any if several else read_labels
    inputs, classes = normalise(read_pixels(found, how), how), read(found, spec.labels)
    model.fit(inputs, classes, batch_size=32, epochs=16, verbose=0)
    return model
