# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.config.starter import write_starter
from edgeferry.models.golden.reference_writer import make_reference
from edgeferry.models.keras_loader import classifier, load, load_model
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow

SHAPE = (8, 6, 3)
Config = Callable[..., ModelSpec]


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def image() -> Any:
    return keras.Input(SHAPE, name="image")


def features(x: Any) -> Any:
    return layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3, activation="relu")(x))


def dense_sigmoid() -> keras.Model:
    x = image()
    return keras.Model(x, layers.Dense(1, activation="sigmoid", bias_initializer="ones")(features(x)))


def without_bias() -> keras.Model:
    x = image()
    return keras.Model(x, layers.Dense(1, activation="sigmoid", use_bias=False)(features(x)))


def activation_layer() -> keras.Model:
    return keras.Sequential([image(), layers.Flatten(), layers.Dense(1), layers.Dropout(0.5), layers.Activation("sigmoid")])


def operation() -> keras.Model:
    x = image()
    return keras.Model(x, keras.ops.sigmoid(layers.Dense(1, bias_initializer="ones")(features(x))))


def pooled_map() -> keras.Model:
    x = image()
    return keras.Model(x, layers.Activation("sigmoid")(layers.GlobalAveragePooling2D()(layers.Conv2D(1, 3)(x))))


def nested_head() -> keras.Model:
    head = keras.Sequential([layers.Dense(8, activation="relu"), layers.Dense(1, activation="sigmoid")])
    return keras.Sequential([image(), layers.Conv2D(4, 3), layers.Flatten(), head])


def head_of_one_layer() -> keras.Model:
    return keras.Sequential([image(), layers.Flatten(), keras.Sequential([layers.Dense(1, activation="sigmoid")])])


def dict_out() -> keras.Model:
    x = image()
    return keras.Model({"image": x}, {"cat": layers.Dense(1, activation="sigmoid")(features(x))})


def one_logit() -> keras.Model:
    x = image()
    return keras.Model(x, layers.Dense(1)(features(x)))


def one_tanh() -> keras.Model:
    x = image()
    return keras.Model(x, layers.Dense(1, activation="tanh")(features(x)))


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[Callable[[], keras.Model]], Path]:
    """Return a function that saves what another one builds."""

    def save(build: Callable[[], keras.Model]) -> Path:
        keras.utils.set_random_seed(7)
        path = tmp_path / "pets.keras"
        build().save(path)
        return path

    return save


def images() -> Any:
    return np.random.default_rng(3).uniform(-2, 2, (16, *SHAPE)).astype(np.float32)


@pytest.mark.parametrize(
    "build",
    [dense_sigmoid, without_bias, activation_layer, operation, pooled_map, nested_head, head_of_one_layer, dict_out],
)
def test_one_sigmoid_becomes_the_probabilities_of_two_classes(saved: Callable[..., Path], build: Any) -> None:
    path = saved(build)
    alone = keras.saving.load_model(path)
    given = alone.predict_on_batch({"image": images()} if build is dict_out else images())
    p = np.asarray(given["cat"] if build is dict_out else given, np.float64)
    scores = load_model(path).predict_on_batch(images())
    assert p.shape == (16, 1)
    assert np.ptp(p) > 0.01
    assert np.abs(scores - np.hstack([1 - p, p])).max() < 2e-7
    assert np.abs(scores.sum(axis=1) - 1).max() < 2e-7


def test_that_two_classes_were_made_of_one_sigmoid_is_reported(saved: Callable[..., Path]) -> None:
    (change,) = load(saved(dense_sigmoid)).changes
    assert change.code == "model-one-output"
    assert "1 - p for the first label, p for the second" in change.sentence


def test_the_dense_layer_keeps_its_name_and_no_second_one_follows(saved: Callable[..., Path]) -> None:
    path = saved(dense_sigmoid)
    before, after = keras.saving.load_model(path).layers, load_model(path).layers
    assert [layer.name for layer in after] == [layer.name for layer in before]
    assert after[-1].units == 2


def test_a_confident_sigmoid_keeps_its_small_probability(saved: Callable[..., Path]) -> None:
    path = saved(lambda: keras.Sequential([image(), layers.Flatten(), layers.Dense(1, "sigmoid", kernel_initializer="ones")]))
    scores = load_model(path).predict_on_batch(np.full((1, *SHAPE), 20 / 144, np.float32))
    assert scores[0, 0] == pytest.approx(np.exp(-20.0), rel=1e-5)


def test_one_logit_is_taken_as_two_where_the_config_says_logits(saved: Callable[..., Path], config_for: Config) -> None:
    path = saved(one_logit)
    z = keras.saving.load_model(path).predict_on_batch(images())
    scores = classifier(config_for(path, labels=("cat", "dog"), output="logits")).predict_on_batch(images())
    assert np.array_equal(scores[:, 0], np.zeros(16))
    assert np.allclose(scores[:, 1:], z, atol=1e-6)


def test_one_number_without_a_sigmoid_is_refused_until_the_config_says_logits(
    saved: Callable[..., Path], config_for: Config
) -> None:
    with pytest.raises(EdgeError, match=r"model\.output = 'logits' in pets\.toml", check=coded("EF-model-one-logit")):
        classifier(config_for(saved(one_logit), labels=("cat", "dog")))


def test_one_number_of_another_activation_is_refused(saved: Callable[..., Path], config_for: Config) -> None:
    with pytest.raises(EdgeError, match="neither a sigmoid", check=coded("EF-model-output")):
        classifier(config_for(saved(one_tanh), labels=("cat", "dog")))


def test_three_labels_for_one_sigmoid_are_refused(saved: Callable[..., Path], config_for: Config) -> None:
    with pytest.raises(EdgeError, match="3 labels.* 2 classes: remove 1", check=coded("EF-label-count")):
        classifier(config_for(saved(dense_sigmoid)))


def test_the_starter_of_one_sigmoid_has_two_labels_and_says_which_is_which(saved: Callable[..., Path]) -> None:
    path, assumed = write_starter(saved(dense_sigmoid))
    assert read_spec(path).labels == ("0", "1")
    assert assumed[0].startswith("the model ends in one sigmoid, p, taken as two classes")


def test_the_starter_of_one_logit_says_that_it_assumes_a_logit(saved: Callable[..., Path]) -> None:
    path, assumed = write_starter(saved(one_logit))
    assert read_spec(path).output == "logits"
    assert "logit" in assumed[0]


def test_the_reference_of_one_sigmoid_holds_both_probabilities_and_the_note(tmp_path: Path, config_for: Config) -> None:
    x = image()
    dense = layers.Dense(1, activation="sigmoid")
    model = keras.Model(x, dense(layers.GlobalAveragePooling2D()(layers.Rescaling(1 / 255)(x))))
    dense.set_weights([np.full((3, 1), 4.0), np.array([-6.0])])
    model.save(tmp_path / "pets.keras")
    pixels = np.random.default_rng(4).integers(0, 120, (40, *SHAPE), dtype=np.uint8)
    pixels[20:] += 120
    np.savez(tmp_path / "golden.npz", images=pixels, labels=np.repeat(["dark", "bright"], 20))
    spec = config_for(tmp_path / "pets.keras", labels=("dark", "bright"), golden=tmp_path / "golden.npz")
    reference = make_reference(spec, tmp_path / "reference")
    assert (reference.accuracy, reference.output) == (1.0, "probabilities")
    p = keras.saving.load_model(tmp_path / "pets.keras").predict_on_batch(pixels.astype(np.float32))
    assert np.allclose(np.load(tmp_path / "reference" / "scores.npy"), np.hstack([1 - p, p]), atol=1e-6)
    (found,) = [each for each in reference.findings if each.subject == "model"]
    assert (found.code, found.severity) == ("model-one-output", "note")
    assert found.sentence.startswith(f"{spec.model}: ends in one sigmoid")
