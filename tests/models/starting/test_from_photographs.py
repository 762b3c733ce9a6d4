# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from edgeferry.models.config.spec import normalisation_of_range, read_spec
from edgeferry.models.golden.reference_writer import make_reference
from edgeferry.models.images import find_images
from edgeferry.models.starting.from_photographs import write_config
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow

# What each label's pictures have more of, and how many there are of each.
CHANNELS = {"blue": 2, "green": 1, "red": 0}
COUNT = 24
SIDE = 12


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """Return noisy pictures of three colours, uint8, and their classes in code-point order."""
    noise = np.random.default_rng(3)
    classes = np.repeat(np.arange(len(CHANNELS)), COUNT)
    images = noise.integers(60, 160, (len(classes), SIDE, SIDE, 3))
    for number, channel in enumerate(CHANNELS.values()):
        images[classes == number, :, :, channel] += 70
    return images.astype(np.uint8), classes


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the pictures, one folder per label, with a damaged one and a copy among them."""
    place = tmp_path_factory.mktemp("trained") / "photos"
    for number, (picture, label) in enumerate(zip(*pictures(), strict=True)):
        file = place / list(CHANNELS)[label] / f"{number:02}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(file)
    (place / "red" / "damaged.jpg").write_bytes(b"\xff\xd8\xff")
    (place / "red" / "copy.png").write_bytes((place / "blue" / "00.png").read_bytes())
    return place


@pytest.fixture(scope="module")
def trained(photos: Path) -> Path:
    """Return a network trained on the pictures scaled to -1 to 1 before it; nothing in it says so."""
    images, classes = pictures()
    keras.utils.set_random_seed(5)
    image = keras.Input((SIDE, SIDE, 3))
    x = layers.GlobalAveragePooling2D()(layers.Conv2D(8, 3, activation="relu")(image))
    model = keras.Model(image, layers.Dense(3, activation="softmax")(x))
    model.compile(keras.optimizers.Adam(0.03), "sparse_categorical_crossentropy")
    model.fit(images / 127.5 - 1, classes, epochs=40, verbose=0)
    model.save(photos.parent / "colours.keras")
    return photos.parent / "colours.keras"


@pytest.fixture
def model(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of the network in a folder of its own."""
    (tmp_path / "my.keras").write_bytes(trained.read_bytes())
    return tmp_path / "my.keras"


def test_the_config_is_one_under_which_the_model_is_right(model: Path, photos: Path, tmp_path: Path) -> None:
    path, lines = write_config(model, photos)
    spec = read_spec(path)
    assert spec.labels == ("blue", "green", "red")
    assert (spec.preprocessing.mean, spec.preprocessing.std) == normalisation_of_range(-1, 1, 3)
    made = make_reference(spec, tmp_path / "reference")
    assert made.accuracy is not None
    assert made.accuracy > 0.95
    assert any("range = [-1, 1]" in line for line in lines)
    assert all(f"# Assumed: {line}.\n" in path.read_text(encoding="utf-8") for line in lines)


def test_no_image_is_both_golden_and_for_calibration_and_what_cannot_be_used_is_named(model: Path, photos: Path) -> None:
    path, lines = write_config(model, photos)
    spec = read_spec(path)
    assert spec.calibration is not None
    golden, calibration = find_images(spec.golden), find_images(spec.calibration)
    assert len(golden.files) + len(calibration.files) == len(CHANNELS) * COUNT
    assert not {file.read_bytes() for file in golden.files} & {file.read_bytes() for file in calibration.files}
    assert "1 damaged files are left out: damaged.jpg" in lines


def test_labels_in_another_order_are_put_right_by_the_photographs(model: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("green\nblue\nred\n", encoding="utf-8")
    path, lines = write_config(model, photos, tmp_path / "names.txt")
    assert read_spec(path).labels == ("blue", "green", "red")
    assert any("the labels 'green' and 'blue' exchanged" in line for line in lines)


def test_a_config_that_is_there_is_replaced_only_where_that_is_wanted(model: Path, photos: Path) -> None:
    config = model.with_suffix(".toml")
    config.write_text("mine", encoding="utf-8")
    with pytest.raises(EdgeError, check=coded("EF-config-exists")):
        write_config(model, photos)
    assert config.read_text(encoding="utf-8") == "mine"
    write_config(model, photos, replaces=True)
    assert read_spec(config).labels == ("blue", "green", "red")


def test_a_refusal_leaves_nothing_behind(model: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("cat\ndog\nfish\n", encoding="utf-8")
    before = sorted(tmp_path.iterdir())
    with pytest.raises(EdgeError, check=coded("EF-photographs-labels")):
        write_config(model, photos, tmp_path / "names.txt")
    assert sorted(tmp_path.iterdir()) == before


def test_photographs_without_labels_make_a_config_without_accuracy(model: Path, photos: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for file in find_images(photos).files:
        (flat / f"{file.parent.name}-{file.name}").write_bytes(file.read_bytes())
    path, lines = write_config(model, flat)
    assert find_images(read_spec(path).golden).labels is None
    assert any("unknown, since the photographs have no labels" in line for line in lines)
    assert any("the range is a guess" in line for line in lines)
