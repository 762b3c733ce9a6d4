# SPDX-License-Identifier: Apache-2.0
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras.src import backend

from edgeferry.models.config.locate import DIGITS, find_config
from edgeferry.models.config.spec import read_spec
from edgeferry.models.image_labels import read_labels
from edgeferry.models.images import find_images
from edgeferry.models.keras_loader import classifier
from edgeferry.models.named import applications, efficientnet_lite0, fashion_mnist
from edgeferry.models.named.named import named_models
from edgeferry.models.system.errors import EdgeError


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def find(name: str, build: Path, images: Path | None = None) -> Any:
    return find_config(name, lambda _: None, build, images)


@pytest.mark.parametrize(
    ("name", "meant"),
    [("efficientnet-lite0", "efficientnet_lite0"), ("fashion_minst", "fashion_mnist"), ("MobilNetV2", "MobileNetV2")],
)
def test_an_unknown_name_is_refused_with_the_closest_one(tmp_path: Path, name: str, meant: str) -> None:
    with pytest.raises(EdgeError, match=f"did you mean {meant}[?]", check=coded("EF-model-missing")):
        find(name, tmp_path)


def test_digits_is_the_example(tmp_path: Path) -> None:
    assert find("digits", tmp_path).path == DIGITS


@pytest.mark.parametrize("name", ["efficientnet_lite0", "MobileNetV2"])
def test_a_model_without_images_of_its_own_needs_some_before_anything_is_made(tmp_path: Path, name: str) -> None:
    with pytest.raises(EdgeError, match="--images FOLDER", check=coded("EF-named-images")):
        find(name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_names_are_those_of_keras_applications() -> None:
    networks = {name for name, value in vars(keras.applications).items() if inspect.isfunction(value)}
    assert set(applications.NAMES) == networks
    assert networks <= set(named_models())


@pytest.mark.slow
def test_weights_that_are_not_on_this_machine_are_named_and_not_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backend.config, "_KERAS_DIR", str(tmp_path))
    with pytest.raises(EdgeError, match=rf"{tmp_path}/models/mobilenet_1_0_224_tf\.h5", check=coded("EF-weights-missing")):
        applications.make("MobileNet", tmp_path / "m.keras", None)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_weights_that_are_on_this_machine_are_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.config, "_KERAS_DIR", str(tmp_path))
    (tmp_path / "models").mkdir()
    model = keras.applications.MobileNet(weights=None)
    model.save_weights(tmp_path / "models" / "my.weights.h5")
    (tmp_path / "models" / "my.weights.h5").rename(tmp_path / "models" / "mobilenet_1_0_224_tf.h5")
    monkeypatch.setattr(keras.Model, "load_weights", lambda self, path: self.set_weights(model.get_weights()))
    applications.make("MobileNet", tmp_path / "m.keras", None)
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    assert all((one == other).all() for one, other in zip(loaded.get_weights(), model.get_weights(), strict=True))


@pytest.mark.slow
def test_efficientnet_lite0_has_the_published_number_of_parameters_and_takes_weights_by_name() -> None:
    model = efficientnet_lite0.network()
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 4_652_008
    numbers = np.random.default_rng(1)
    weights: dict[str, Any] = {}
    for layer in model.layers:
        for name, weight in zip(efficientnet_lite0.weight_names(layer), layer.weights, strict=True):
            shape = tuple(weight.shape)
            kind = type(layer).__name__
            back = shape if len(shape) == 1 else shape[::-1] if len(shape) == 2 else None
            if back is None:
                height, width, inputs, outputs = shape
                back = (inputs, outputs, height, width) if kind == "DepthwiseConv2D" else (outputs, inputs, height, width)
            weights[name] = numbers.random(back, np.float32)
    efficientnet_lite0.load_weights(model, weights)
    found = model.get_layer("blocks_2_depthwise_conv").weights[0].numpy()
    assert (found[1, 2, 5, 0] == weights["_blocks.2._depthwise_conv.weight"][5, 0, 1, 2]).all()
    del weights["_fc.bias"]
    with pytest.raises(EdgeError, match="fc", check=coded("EF-weights-damaged")):
        efficientnet_lite0.load_weights(model, weights)


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return b"\x00\x00\x08" + bytes([array.ndim]) + sizes + array.astype(np.uint8).tobytes()


@pytest.fixture
def data_set(tmp_path: Path) -> Path:
    """Return idx files of squares whose place is their class, in the form of Fashion-MNIST."""
    folder = tmp_path / "idx"
    folder.mkdir()
    for part, count in (("train", 900), ("t10k", 100)):
        classes = np.arange(count) % 10
        images = np.random.default_rng(count).integers(0, 60, (count, 28, 28))
        for number, at in enumerate(classes):
            images[number, 2 + 5 * (at // 2) : 7 + 5 * (at // 2), 14 * (at % 2) : 14 * (at % 2) + 14] += 150
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(images))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx(classes))
    return folder


@pytest.mark.slow
def test_fashion_mnist_is_trained_from_idx_files_and_brings_its_images(
    tmp_path: Path, data_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fashion_mnist, "EPOCHS", 1)
    spec = find("fashion_mnist", tmp_path / "build", data_set)
    assert spec == read_spec(tmp_path / "build" / "fashion_mnist" / "source" / "fashion_mnist.toml")
    assert spec.labels == fashion_mnist.LABELS
    golden = read_labels(find_images(spec.golden), spec.labels)
    assert np.bincount(golden).tolist() == [10] * 10
    assert classifier(spec).output_shape == (None, 10)


def test_without_the_data_set_it_is_said_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="apt-get install dataset-fashion-mnist", check=coded("EF-data-set-missing")):
        fashion_mnist.make(tmp_path / "m.keras", tmp_path)


def test_idx_files_that_do_not_belong_together_are_refused(tmp_path: Path, data_set: Path) -> None:
    (data_set / "train-labels-idx1-ubyte").write_bytes((data_set / "t10k-labels-idx1-ubyte").read_bytes())
    with pytest.raises(EdgeError, match="as many of both", check=coded("EF-idx")):
        fashion_mnist.make(tmp_path / "m.keras", data_set)
