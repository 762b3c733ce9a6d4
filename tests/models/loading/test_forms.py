# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.keras_loader import classifier, load
from edgeferry.models.preprocessing import Preprocessing

pytestmark = pytest.mark.slow

SHAPE = (8, 6, 3)


def head(x: Any, **options: Any) -> Any:
    return layers.Dense(3, activation="softmax", **options)(layers.Flatten()(x))


def double() -> keras.Model:
    x = keras.Input(SHAPE, dtype="float64")
    return keras.Model(x, head(layers.Conv2D(4, 3, dtype="float64")(x), dtype="float64"))


def mixed_float16() -> keras.Model:
    x = keras.Input(SHAPE)
    return keras.Model(x, head(layers.Conv2D(4, 3, dtype="mixed_float16")(x), dtype="float32"))


def nested_mixed_bfloat16() -> keras.Model:
    inner = keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 3, dtype="mixed_bfloat16")])
    return keras.Sequential([keras.Input(SHAPE), inner, layers.Flatten(), layers.Dense(3, activation="softmax")])


def pure_float16() -> keras.Model:
    x = keras.Input(SHAPE, dtype="float16")
    return keras.Model(x, head(layers.BatchNormalization(dtype="float16")(x), dtype="float16"))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a model, or what builds it."""

    def save(model: Any) -> Path:
        keras.utils.set_random_seed(8)
        path = tmp_path / "pets.keras"
        (model if isinstance(model, keras.Model) else model()).save(path)
        return path

    return save


def images(*shape: int) -> Any:
    return np.random.default_rng(3).uniform(0, 1, (6, *shape)).astype(np.float32)


@pytest.mark.parametrize(
    ("build", "named", "precision"),
    [
        (double, "float64", 2.0**-22),
        (mixed_float16, "mixed_float16", 2.0**-9),
        (nested_mixed_bfloat16, "mixed_bfloat16", 2.0**-6),
        (pure_float16, "float16", 2.0**-9),
    ],
)
def test_another_precision_is_made_again_in_float32_with_the_same_weights(
    saved: Callable[..., Path], config_for: Callable[..., ModelSpec], build: Any, named: str, precision: float
) -> None:
    path = saved(build)
    before, loaded = keras.saving.load_model(path), load(path)
    model = classifier(config_for(path))
    assert {layer.compute_dtype for layer in model._flatten_layers()} == {"float32"}
    assert all(
        np.array_equal(one.numpy().astype(np.float32), two.numpy())
        for one, two in zip(before.weights, model.weights, strict=True)
    )
    x = images(*SHAPE)
    assert np.abs(before.predict_on_batch(x).astype(np.float32) - model.predict_on_batch(x)).max() < precision
    (change,) = loaded.changes
    assert change.code == "model-float32"
    assert named in change.sentence


def test_a_model_in_float32_is_not_made_again(saved: Callable[..., Path]) -> None:
    x = keras.Input(SHAPE)
    assert load(saved(keras.Model(x, head(x)))).changes == ()


# Images without a channel.


def tutorial() -> keras.Model:
    """Return the first network of TensorFlow's own tutorial."""
    return keras.Sequential(
        [keras.Input((28, 28)), layers.Flatten(), layers.Dense(8, "relu"), layers.Dropout(0.2), layers.Dense(3)]
    )


def reshaped() -> keras.Model:
    x = keras.Input((28, 28))
    y = layers.Conv2D(2, 3)(layers.Reshape((28, 28, 1))(layers.Rescaling(1 / 255)(x)))
    return keras.Model(x, head(y))


def expanded() -> keras.Model:
    x = keras.Input((28, 28))
    return keras.Model(x, head(layers.Conv2D(2, 3)(keras.ops.expand_dims(x / 255.0, -1))))


@pytest.mark.parametrize("build", [tutorial, reshaped, expanded])
def test_an_image_without_a_channel_is_given_one(saved: Callable[..., Path], build: Any) -> None:
    path = saved(build)
    loaded, x = load(path), images(28, 28)
    assert loaded.model.input_shape == (None, 28, 28, 1)
    assert np.array_equal(loaded.model.predict_on_batch(x[..., None]), keras.saving.load_model(path).predict_on_batch(x))
    assert [change.code for change in loaded.changes] == ["model-no-channel"]


def test_a_config_of_one_channel_fits_a_model_without_a_channel(
    saved: Callable[..., Path], config_for: Callable[..., ModelSpec]
) -> None:
    spec = config_for(saved(tutorial), preprocessing=Preprocessing(28, 28, "gray", (0.0,), (255.0,)))
    assert classifier(spec).input_shape == (None, 28, 28, 1)


@pytest.mark.parametrize(
    "first", [lambda: layers.LSTM(4), lambda: layers.Conv1D(4, 3), lambda: layers.Dense(4)], ids=["lstm", "conv1d", "dense"]
)
def test_a_sequence_is_no_image_without_a_channel(saved: Callable[..., Path], first: Callable[[], keras.Layer]) -> None:
    loaded = load(saved(keras.Sequential([keras.Input((28, 28)), first(), layers.Flatten(), layers.Dense(3)])))
    assert loaded.model.input_shape == (None, 28, 28)
    assert loaded.changes == ()


# Names.


def network(names: tuple[str, ...]) -> keras.Model:
    x = keras.Input(SHAPE, name=names[0])
    inner = keras.Sequential([keras.Input(SHAPE), layers.Conv2D(4, 3, name=names[1]), layers.ReLU(name=names[2])], name=names[3])
    return keras.Model(x, head(inner(x), name=names[4]), name=names[5])


def test_names_that_tensorflow_does_not_take_are_changed_and_the_model_can_be_traced(saved: Callable[..., Path]) -> None:
    loaded = load(saved(network(("bild größe", "größe", "gro\u0308ße", "_innen", "класс", "мой класс"))))
    names = [layer.name for layer in loaded.model._flatten_layers()]
    assert {"bild_groe", "groe", "groe_1", "innen"} <= set(names)
    assert all(name.isascii() for name in names)
    traced = tf.function(lambda image: loaded.model(image, training=False), input_signature=[tf.TensorSpec((None, *SHAPE))])
    same = network(("image", "conv", "relu", "inner", "kind", "pets"))
    same.set_weights(loaded.model.get_weights())
    assert np.allclose(traced(images(*SHAPE)), same.predict_on_batch(images(*SHAPE)), atol=1e-6)
    (change,) = loaded.changes
    assert change.code == "model-renamed"
    assert "'bild größe' to 'bild_groe'" in change.sentence


def test_names_that_tensorflow_takes_are_kept(saved: Callable[..., Path]) -> None:
    x = keras.Input(SHAPE, name="image.1")
    assert load(saved(keras.Model(x, head(x, name="Klasse-2_a"), name="pets"))).changes == ()
