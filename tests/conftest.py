# SPDX-License-Identifier: Apache-2.0
"""Two classifiers that are really trained, each once a session: gray digits, and colours that a channel swap confuses."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest

from edgeferry.exporters.export import Export, export_all
from edgeferry.exporters.format import formats
from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.images import find_images, read_labels, read_pixels
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.places import ROOT

if TYPE_CHECKING:
    import keras

# Swapping the first channel for the last turns each colour into another of the four.
COLOURS: Final = {"red": (1.0, 0.1, 0.1), "blue": (0.1, 0.1, 1.0), "yellow": (1.0, 0.9, 0.1), "cyan": (0.1, 0.9, 1.0)}
COLOURS_TOML: Final = """\
[model]
name = "colours"
file = "colours.keras"
labels = ["red", "blue", "yellow", "cyan"]

[input]
shape = [24, 20, 3]
colour = "bgr"
mean = [40, 45, 50]
std = [60, 70, 80]
resize = "bicubic"
fit = "crop"

[data]
golden = "golden"
calibration = "calibration"
"""

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """Return the contract of the default classifier, trained as a user trains it."""
    folder = tmp_path_factory.mktemp("digits")
    toml = folder / "digits.toml"
    contract = (ROOT / "models" / "digits.toml").read_text(encoding="utf-8")
    toml.write_text(contract.replace("../build/digits/source/", "source/"), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "edgeferry", "train", str(toml)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return read_spec(toml)


@pytest.fixture(scope="session")
def colours(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """Return the contract of a trained BGR classifier of 24x20 images, with golden and calibration images."""
    folder = tmp_path_factory.mktemp("colours")
    toml = folder / "colours.toml"
    toml.write_text(COLOURS_TOML, encoding="utf-8")
    spec = read_spec(toml)
    _write_tinted_digits(folder)
    _colour_classifier(folder / "train", spec).save(spec.model)
    return spec


def _write_tinted_digits(folder: Path) -> None:
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    images, rng = load_digits().images, np.random.default_rng(11)
    parts = {"golden": range(160), "calibration": range(160, 240), "train": range(240, 880)}
    for part, numbers in parts.items():
        for number in numbers:
            name, tint = list(COLOURS.items())[number % len(COLOURS)]
            wide = np.pad(images[number] / 16, ((0, 0), (2, 2)))
            light = np.asarray(tint) * rng.uniform(0.7, 1.0) + rng.uniform(0, 0.1, 3)
            file = folder / part / name / f"{number:03}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray((np.clip(wide[..., None] * light, 0, 1) * 255).astype(np.uint8)).save(file)


def _colour_classifier(images: Path, spec: ModelSpec) -> "keras.Model":
    import keras
    from keras import layers

    keras.utils.set_random_seed(3)
    how, found = spec.preprocessing, find_images(images)
    model = keras.Sequential(
        [
            keras.Input((how.height, how.width, how.channels), name="image"),
            layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False),
            layers.BatchNormalization(momentum=0.8),
            layers.ReLU(6.0),
            layers.Conv2D(16, 3, strides=2, padding="same", activation="relu"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(len(spec.labels), activation="softmax"),
        ],
        name="colours",
    )
    model.compile(optimizer=keras.optimizers.Adam(0.01), loss="sparse_categorical_crossentropy")
    inputs, classes = normalise(read_pixels(found, how), how), read_labels(found, spec.labels)
    model.fit(inputs, classes, batch_size=32, epochs=8, verbose=0)
    return model


class Exported(NamedTuple):
    """A classifier, the folder it was exported to, and what became of each format."""

    spec: ModelSpec
    build: Path
    exports: dict[str, Export]


@pytest.fixture(scope="session")
def exported_digits(digits: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Return the default classifier in every format that can be written here."""
    return _exported(digits, tmp_path_factory.mktemp("build") / digits.name)


@pytest.fixture(scope="session")
def exported_colours(colours: ModelSpec, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Return the colour classifier in every format that can be written here."""
    return _exported(colours, tmp_path_factory.mktemp("build") / colours.name)


def _exported(spec: ModelSpec, build: Path) -> Exported:
    exports = export_all(spec, build, tuple(formats()), lambda *_: None)
    return Exported(spec, build, {export.format: export for export in exports})
