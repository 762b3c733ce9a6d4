# SPDX-License-Identifier: Apache-2.0
"""Small classifiers for measuring what the check catches, with images apart on which the harm of a fault is measured.

All images are drawn from a seed: scikit-learn's digits in colours and on backgrounds, and gratings.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.preprocessing import normalise

if TYPE_CHECKING:
    from collections.abc import Callable

    import keras
    from numpy.typing import NDArray

    Images = tuple[NDArray[np.uint8], NDArray[np.int64]]

GOLDEN: Final = 360
CALIBRATION: Final = 200
APART: Final = 2000
TRAINING: Final = 4000
HUES: Final = np.array(
    [
        [1, 0.1, 0.1],
        [1, 0.5, 0.1],
        [0.9, 0.9, 0.1],
        [0.1, 0.8, 0.2],
        [0.1, 0.8, 0.9],
        [0.1, 0.2, 1],
        [0.6, 0.1, 0.9],
        [1, 0.3, 0.7],
    ]
)


@dataclass(frozen=True)
class GateModel:
    """A kind of classifier: how its images are drawn, which network it is, and its ``[input]`` table."""

    name: str
    classes: int
    input: str
    draw: "Callable[[np.random.Generator, int], Images]"
    network: "Callable[[ModelSpec], keras.Model]"
    epochs: int


@dataclass(frozen=True)
class Trained:
    """A trained classifier: its config, with golden and calibration images in files, and the images apart with their classes."""

    spec: ModelSpec
    apart: "Images"


def trained(kind: GateModel, folder: Path, seed: int = 0) -> Trained:
    """Return a classifier of a kind, trained into a folder with a seed of its own; one that is there already is used again."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = [f"class {number}" for number in range(kind.classes)]
    toml = folder / f"{kind.name}.toml"
    toml.write_text(
        f'[model]\nname = "{folder.name}"\nfile = "model.keras"\nlabels = {labels}\n\n[input]\n{kind.input}\n\n'
        '[data]\ngolden = "golden.npz"\ncalibration = "calibration.npz"\n',
        encoding="utf-8",
    )
    spec, rng = read_spec(toml), np.random.default_rng(1000 + seed)
    parts = {part: kind.draw(rng, count) for part, count in (("golden", GOLDEN), ("calibration", CALIBRATION), ("apart", APART))}
    for part in ("golden", "calibration"):
        pixels, classes = parts[part]
        np.savez(folder / f"{part}.npz", images=pixels, labels=np.array([labels[each] for each in classes]))
    if not spec.model.is_file():
        pixels, classes = kind.draw(rng, TRAINING)
        _fit(kind, spec, (_in_order(pixels, spec), classes), seed)
    pixels, classes = parts["apart"]
    return Trained(spec, (_in_order(pixels, spec), classes))


def _in_order(pixels: "NDArray[np.uint8]", spec: ModelSpec) -> "NDArray[np.uint8]":
    """Return pixels, drawn in red, green and blue, in the order of a config."""
    return np.ascontiguousarray(pixels[..., ::-1]) if spec.preprocessing.colour == "bgr" else pixels


def _fit(kind: GateModel, spec: ModelSpec, images: "Images", seed: int) -> None:
    import keras

    keras.utils.set_random_seed(seed)
    model = kind.network(spec)
    logits = model.layers[-1].activation is keras.activations.linear
    steps = kind.epochs * TRAINING // 64
    model.compile(
        optimizer=keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(4e-3, steps)),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=logits),
    )
    model.fit(normalise(images[0], spec.preprocessing), images[1], batch_size=64, epochs=kind.epochs, verbose=0)
    model.save(spec.model)


def _glyphs(rng: np.random.Generator, count: int, size: tuple[int, int]) -> "tuple[NDArray[np.float64], NDArray[np.int64]]":
    """Return digits, [count, height, width] from 0 to 1, each moved, turned a little and scaled, and what they are."""
    from scipy.ndimage import affine_transform
    from sklearn.datasets import load_digits

    digits = load_digits()
    drawn = []
    chosen = rng.integers(len(digits.images), size=count)
    for number in chosen:
        angle, zoom = rng.normal(0, 0.12), rng.uniform(0.9, 1.15) * 8 / min(size)
        turn = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        centre = np.array([3.5, 3.5]) - turn @ (np.array(size) / 2 - 0.5 + rng.uniform(-2.5, 2.5, 2))
        drawn.append(affine_transform(digits.images[number] / 16, turn, centre, size, order=1))
    return np.stack(drawn), digits.target[chosen].astype(np.int64)


def _as_pixels(images: "NDArray[np.float64]") -> "NDArray[np.uint8]":
    return (np.clip(images, 0, 1) * 255).astype(np.uint8)


def draw_numerals(rng: np.random.Generator, count: int) -> "Images":
    """Return digits in any colour on backgrounds of any colour, with much noise."""
    glyphs, classes = _glyphs(rng, count, (32, 32))
    paper = rng.uniform(0, 1, (count, 1, 1, 3))
    ink = (paper + 0.5 + rng.uniform(-0.15, 0.15, paper.shape)) % 1
    slope = np.linspace(-0.5, 0.5, 32)[None, :, None, None] * rng.normal(0, 0.15, (count, 1, 1, 3))
    images = paper + slope + 0.8 * glyphs[..., None] * (ink - paper)
    return _as_pixels(images + rng.normal(0, 0.04, images.shape)), classes


def draw_hues(rng: np.random.Generator, count: int) -> "Images":
    """Return digits in eight colours, which are the classes; light and noise make neighbours hard to tell apart."""
    glyphs, _ = _glyphs(rng, count, (24, 20))
    classes = rng.integers(len(HUES), size=count)
    light = HUES[classes] * rng.uniform(0.35, 1.0, (count, 1)) + rng.normal(0, 0.09, (count, 3))
    images = 0.9 * glyphs[..., None] * light[:, None, None, ::-1] + rng.uniform(0, 0.15, (count, 1, 1, 1))
    return _as_pixels(images + rng.normal(0, 0.05, images.shape)), classes


def draw_gratings(rng: np.random.Generator, count: int) -> "Images":
    """Return gray waves of eight directions in noise; the direction is the class."""
    classes = rng.integers(8, size=count)
    angle = (np.pi * (classes + rng.normal(0, 0.26, count)) / 8)[:, None, None]
    across, down = np.meshgrid(np.arange(28), np.arange(28))
    pitch, phase = rng.uniform(0.5, 1.1, (count, 1, 1)), rng.uniform(0, 2 * np.pi, (count, 1, 1))
    wave = np.sin(pitch * (np.cos(angle) * across + np.sin(angle) * down) + phase)
    images = 0.5 + rng.uniform(0.1, 0.4, (count, 1, 1)) * wave + rng.normal(0, 0.12, (count, 28, 28))
    return _as_pixels(images[..., None]), classes


def mobile_logits(spec: ModelSpec) -> "keras.Model":
    """Return a network of depthwise blocks with hard-swish and squeeze-and-excite that ends in logits."""
    import keras
    from keras import layers

    def block(x: "keras.KerasTensor", filters: int, strides: int) -> "keras.KerasTensor":
        y = layers.DepthwiseConv2D(3, strides=strides, padding="same", use_bias=False)(x)
        y = layers.Activation("hard_silu")(layers.BatchNormalization(momentum=0.9)(y))
        scale = layers.GlobalAveragePooling2D(keepdims=True)(y)
        scale = layers.Conv2D(y.shape[-1] // 4, 1, activation="relu")(scale)
        y = layers.Multiply()([y, layers.Conv2D(y.shape[-1], 1, activation="hard_sigmoid")(scale)])
        y = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(filters, 1, use_bias=False)(y))
        return layers.Add()([x, y]) if x.shape == y.shape else y

    how = spec.preprocessing
    image = keras.Input((how.height, how.width, how.channels), name="image")
    x = layers.BatchNormalization(momentum=0.9)(layers.Conv2D(16, 3, strides=2, padding="same", use_bias=False)(image))
    x = layers.Activation("hard_silu")(x)
    for filters, strides in ((24, 2), (24, 1), (40, 2), (40, 1)):
        x = block(x, filters, strides)
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(96, 1, activation="hard_silu")(x))
    return keras.Model(image, layers.Dense(len(spec.labels), name="logits")(x))


def small_colour(spec: ModelSpec) -> "keras.Model":
    """Return two convolutions and a softmax."""
    import keras
    from keras import layers

    how = spec.preprocessing
    return keras.Sequential(
        [
            keras.Input((how.height, how.width, how.channels), name="image"),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.9),
            layers.ReLU(6.0),
            layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(spec.labels), activation="softmax"),
        ]
    )


def plain(spec: ModelSpec) -> "keras.Model":
    """Return convolutions, pooling and two Dense layers, without batch normalisation."""
    import keras
    from keras import layers

    how = spec.preprocessing
    return keras.Sequential(
        [
            keras.Input((how.height, how.width, how.channels), name="image"),
            layers.Conv2D(12, 5, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(24, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(32, activation="tanh"),
            layers.Dense(len(spec.labels), activation="softmax"),
        ]
    )


NUMERALS: Final = GateModel(
    "numerals", 10, 'shape = [32, 32, 3]\ncolour = "rgb"\nrange = [-1, 1]', draw_numerals, mobile_logits, 12
)
HUES_MODEL: Final = GateModel(
    "hues",
    8,
    'shape = [24, 20, 3]\ncolour = "bgr"\nmean = [40, 45, 50]\nstd = [60, 70, 80]\nfit = "crop"',
    draw_hues,
    small_colour,
    8,
)
# For validation only: no limit was set with it.
GRATINGS: Final = GateModel("gratings", 8, 'shape = [28, 28, 1]\ncolour = "gray"\nrange = [0, 1]', draw_gratings, plain, 6)


def trained_digits(folder: Path) -> Trained:
    """Return the default classifier, trained as a user trains it; images apart are those of its training, moved and dimmed."""
    from scipy.ndimage import shift

    from edgeferry.models.digits import train
    from edgeferry.models.image_labels import read_labels
    from edgeferry.models.images import find_images, read_pixels
    from edgeferry.models.system.child import call_quietly
    from edgeferry.models.system.places import ROOT

    folder.mkdir(parents=True, exist_ok=True)
    toml = folder / "digits.toml"
    config = (ROOT / "models" / "digits.toml").read_text(encoding="utf-8")
    toml.write_text(config.replace("../build/digits/source/", "source/"), encoding="utf-8")
    spec = read_spec(toml)
    if not spec.model.is_file():
        call_quietly(train, spec)
    images = find_images(folder / "source" / "train")
    pixels, classes = read_pixels(images, spec.preprocessing), read_labels(images, spec.labels)
    rng = np.random.default_rng(5)
    chosen = rng.integers(len(pixels), size=APART)
    moved = [shift(pixels[at, ..., 0].astype(float), rng.uniform(-2.5, 2.5, 2), order=1) * rng.uniform(0.7, 1) for at in chosen]
    noisy = np.stack(moved) + rng.normal(0, 8, (APART, *pixels.shape[1:3]))
    return Trained(spec, (np.clip(noisy, 0, 255).astype(np.uint8)[..., None], classes[chosen]))
