# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from typing import Any

import keras
import pytest
from keras import layers

from edgeferry.models.config.spec import normalisation_of_range
from edgeferry.models.diagnosis.readings import CAFFE, IMAGENET
from edgeferry.models.starting.scaling import scaling_of

pytestmark = pytest.mark.slow

SHAPE = (32, 32, 3)


def with_head(image: Any, x: Any) -> keras.Model:
    return keras.Model(image, layers.Dense(3, activation="softmax")(layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(x))))


def scaled_by(*steps: Callable[[Any], Any]) -> keras.Model:
    image = x = keras.Input(SHAPE)
    for step in steps:
        x = step(x)
    return with_head(image, x)


@pytest.mark.parametrize(
    ("steps", "low", "high"),
    [
        ([layers.Rescaling(1 / 255)], 0, 255),
        ([layers.Rescaling(1 / 127.5, -1)], 0, 255),
        ([layers.Rescaling(2, -1)], 0, 1),
        ([layers.Rescaling(127.5, 127.5), layers.Rescaling(1 / 255)], -1, 1),
        ([layers.Normalization(mean=[124, 116, 104], variance=[3400, 3200, 3300])], 0, 255),
        ([layers.Normalization(mean=[0.48, 0.45, 0.4], variance=[0.05, 0.05, 0.05])], 0, 1),
        ([lambda x: x / 127.5 - 1.0], 0, 255),
        ([keras.applications.densenet.preprocess_input], 0, 255),
        ([keras.applications.resnet50.preprocess_input], 0, 255),
        ([keras.Sequential([layers.RandomFlip(), layers.RandomZoom(0.1)]), layers.Rescaling(1 / 255)], 0, 255),
    ],
    ids=["255", "127.5", "2", "two", "normalised", "normalised 1", "lambda", "densenet", "resnet50", "augmented"],
)
def test_the_range_is_the_one_that_the_models_own_layers_scale(
    steps: list[Callable[[Any], Any]], low: float, high: float
) -> None:
    found = scaling_of(scaled_by(*steps))
    assert found.is_known
    assert (found.colour, found.mean, found.std) == ("rgb", *normalisation_of_range(low, high, 3))


@pytest.mark.parametrize("steps", [[], [layers.Rescaling(1 / 255), layers.Rescaling(1 / 255)]], ids=["none", "two"])
def test_where_nothing_is_scaled_as_networks_take_it_the_range_is_not_known(steps: list[Callable[[Any], Any]]) -> None:
    assert not scaling_of(scaled_by(*steps)).is_known


@pytest.mark.parametrize(
    ("name", "colour", "normalisation"),
    [
        ("MobileNetV2", "rgb", normalisation_of_range(-1, 1, 3)),
        ("ResNet50", "bgr", CAFFE),
        ("DenseNet121", "rgb", IMAGENET),
        ("MobileNetV3Small", "rgb", normalisation_of_range(0, 255, 3)),
    ],
)
@pytest.mark.parametrize("nested", [True, False], ids=["nested", "flat"])
def test_a_known_backbone_is_given_what_its_preprocess_input_makes(
    name: str, colour: str, normalisation: tuple[tuple[float, ...], tuple[float, ...]], *, nested: bool
) -> None:
    base = getattr(keras.applications, name)(weights=None, include_top=False, input_shape=SHAPE)
    image = keras.Input(SHAPE) if nested else base.inputs[0]
    x = base(image) if nested else base.outputs[0]
    found = scaling_of(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    assert found.is_known
    assert (found.colour, found.mean, found.std) == (colour, *normalisation)


def test_the_scaling_before_a_backbone_counts_and_not_the_backbone() -> None:
    base = keras.applications.ResNet50(weights=None, include_top=False, input_shape=SHAPE)
    image = keras.Input(SHAPE)
    x = base(layers.Rescaling(1 / 127.5, -1)(image))
    found = scaling_of(keras.Model(image, layers.Dense(3)(layers.GlobalAveragePooling2D()(x))))
    assert (found.colour, found.mean, found.std) == ("rgb", *normalisation_of_range(0, 255, 3))
