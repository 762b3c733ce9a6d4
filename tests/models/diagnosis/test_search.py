# SPDX-License-Identifier: Apache-2.0
"""A classifier that knows one pattern per class, in pixels: every reading of its config is planted wrong and found."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from edgeferry.models.config.spec import ModelSpec, normalisation_of_range
from edgeferry.models.decision import softmax
from edgeferry.models.diagnosis.check import check_config
from edgeferry.models.diagnosis.pictures import chosen_by_class
from edgeferry.models.diagnosis.readings import Reading, alternatives
from edgeferry.models.diagnosis.search import Labelled
from edgeferry.models.image_labels import read_labels
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.preprocessing import Preprocessing, normalise
from edgeferry.models.system.errors import EdgeError

LABELS: Final = ("ant", "bee", "cow", "dog", "elk", "fox")
HOW: Final = Preprocessing(16, 16, "bgr", *normalisation_of_range(-1, 1, 3), "bilinear", "crop")


@pytest.fixture(scope="module")
def patterns(tmp_path_factory: pytest.TempPathFactory) -> ModelSpec:
    """Return the config of 120 noisy pictures, 44 x 20, of one colour pattern per class."""
    folder, rng = tmp_path_factory.mktemp("patterns"), np.random.default_rng(5)
    ideal = rng.integers(40, 215, (len(LABELS), 5, 11, 3))
    for number in range(120):
        label = LABELS[number % len(LABELS)]
        noisy = ideal[number % len(LABELS)] + rng.normal(0, 55, (5, 11, 3))
        picture = Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).resize((44, 20), Image.Resampling.NEAREST)
        (folder / label).mkdir(exist_ok=True)
        picture.save(folder / label / f"{number:03}.png")
    return ModelSpec("patterns", folder / "patterns.toml", folder / "patterns.keras", LABELS, HOW, folder)


@pytest.fixture(scope="module")
def predict(patterns: ModelSpec) -> Callable[[Any], np.ndarray]:
    """Return the function that compares inputs with the mean of each class."""
    images = find_images(patterns.golden)
    inputs, classes = normalise(read_pixels(images, HOW), HOW), read_labels(images, LABELS)
    means = np.stack([inputs[classes == each].mean(axis=0) for each in range(len(LABELS))]).reshape(len(LABELS), -1)

    def scores(batch: np.ndarray) -> np.ndarray:
        return -((batch.reshape(len(batch), 1, -1) - means) ** 2).sum(axis=2) / 50

    return scores


def checked(spec: ModelSpec, predict: Callable[[Any], np.ndarray]) -> Any:
    images = find_images(spec.golden)
    probabilities = softmax(predict(normalise(read_pixels(images, spec.preprocessing), spec.preprocessing)))
    return check_config(spec, predict, Labelled(images, read_labels(images, spec.labels), probabilities), logits=True)


RANGE = {"mean": (0.0,) * 3, "std": (1.0,) * 3}
WRONG = {
    "order": ({"colour": "rgb"}, {}, 'Write in [input]: colour = "bgr".'),
    "fit": ({"fit": "stretch"}, {}, 'Write in [input]: fit = "crop".'),
    "order and fit": ({"colour": "rgb", "fit": "stretch"}, {}, 'Write in [input]: colour = "bgr"; fit = "crop".'),
    "labels": (
        {},
        {"labels": ("ant", "fox", "cow", "dog", "elk", "bee")},
        'Write in [model]: labels = ["ant", "bee", "cow", "dog", "elk", "fox"].',
    ),
    "range and labels": (
        {"colour": "rgb"},
        {"labels": ("bee", "cow", "dog", "elk", "fox", "ant")},
        'Write in [input]: colour = "bgr". Write in [model]: labels = ["ant", "bee", "cow", "dog", "elk", "fox"].',
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_named_with_the_line_to_paste(
    patterns: ModelSpec, predict: Callable[[Any], np.ndarray], name: str
) -> None:
    how, others, line = WRONG[name]
    wrong = replace(patterns, preprocessing=replace(HOW, **how), **others)
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-config-mismatch" and line in str(error)):
        checked(wrong, predict)


def test_what_chance_may_explain_is_a_warning(patterns: ModelSpec, predict: Callable[[Any], np.ndarray]) -> None:
    found = checked(replace(patterns, preprocessing=replace(HOW, **RANGE)), predict)
    assert (found.code, found.severity) == ("config-other-reading", "warning")
    assert "Write in [input]: range = [-1, 1]" in found.sentence


def test_a_right_config_is_not_doubted(patterns: ModelSpec, predict: Callable[[Any], np.ndarray]) -> None:
    assert checked(patterns, predict) is None


def test_a_model_of_whole_numbers_has_the_range_of_pixels_alone() -> None:
    how = replace(HOW, mean=(0.0,) * 3, std=(1.0,) * 3)
    shown = {"resized": False, "reshaped": False, "rotated": False}
    ranges = {(each.how.mean, each.how.std) for each in alternatives(Reading(how), **shown, integers=True)}
    assert ranges == {(how.mean, how.std)}
    assert len({each.how.mean for each in alternatives(Reading(how), **shown)}) > 1


def test_a_model_that_nothing_puts_right_is_not_explained(patterns: ModelSpec) -> None:
    rng = np.random.default_rng(6)
    assert checked(patterns, lambda batch: rng.normal(0, 1, (len(batch), len(LABELS)))) is None


def test_the_accuracy_of_training_overrules_another_reading(patterns: ModelSpec, predict: Callable[[Any], np.ndarray]) -> None:
    wrong = replace(patterns, preprocessing=replace(HOW, fit="stretch"), expected_accuracy=0.3)
    found = checked(wrong, predict)
    assert (found.code, found.severity) == ("config-other-reading", "warning")
    assert 'with input.fit = "crop"' in found.sentence


def test_images_stored_turned_are_recognized(patterns: ModelSpec, predict: Callable[[Any], np.ndarray], tmp_path: Path) -> None:
    for file in find_images(patterns.golden).files:
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        with Image.open(file) as picture:
            picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(tmp_path / file.parent.name / file.name)
    with pytest.raises(EdgeError, match=r"with the images mirrored left to right\. No key turns images"):
        checked(replace(patterns, golden=tmp_path), predict)


def test_a_training_that_ignored_exif_is_recognized(
    patterns: ModelSpec, predict: Callable[[Any], np.ndarray], tmp_path: Path
) -> None:
    for file in find_images(patterns.golden).files:
        (tmp_path / file.parent.name).mkdir(exist_ok=True)
        with Image.open(file) as picture:
            exif = picture.getexif()
            exif[0x0112] = 3
            picture.save(tmp_path / file.parent.name / file.name, exif=exif)
    with pytest.raises(
        EdgeError, match=r"with the EXIF orientation of the images ignored\. Training did not turn its images upright"
    ):
        checked(replace(patterns, golden=tmp_path), predict)


def test_images_are_chosen_from_all_classes_and_places() -> None:
    classes = np.repeat([0, 1, 2], [500, 20, 5])
    chosen = np.array(chosen_by_class(classes, 60))
    assert np.bincount(classes[chosen]).tolist() == [35, 20, 5]
    assert np.ptp(chosen[classes[chosen] == 0]) > 450
    assert chosen_by_class(classes, 600) == tuple(range(525))
