# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import keras
import pytest
from keras import layers

from edgeferry.models.config.spec import read_spec
from edgeferry.models.config.starter import SEVERAL_LABELS, write_starter
from edgeferry.models.keras_loader import classifier
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def network(shape: tuple[int | None, int | None, int] = (8, 6, 3), classes: int = 3) -> keras.Model:
    x = keras.Input(shape)
    return keras.Model(x, layers.Dense(classes, activation="softmax")(layers.GlobalAveragePooling2D()(x)))


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that saves a model under a name."""

    def saved(model: keras.Model, name: str = "pets.keras") -> Path:
        model.save(tmp_path / name)
        return tmp_path / name

    return saved


def test_the_starter_fits_the_model(save: Callable[..., Path]) -> None:
    path, assumed = write_starter(save(network()))
    spec = read_spec(path)
    assert path.name == "pets.toml"
    assert (spec.name, spec.labels) == ("pets", ("0", "1", "2"))
    assert (spec.preprocessing.height, spec.preprocessing.width, spec.preprocessing.colour) == (8, 6, "rgb")
    assert classifier(spec).output_shape == (None, 3)
    assert any("input.colour is 'rgb'" in note for note in assumed)
    assert spec.preprocessing.resize == "tf-bilinear"


def test_the_starter_holds_what_it_assumes(save: Callable[..., Path]) -> None:
    path, assumed = write_starter(save(network()))
    assert len(assumed) >= 3
    assert all(f"# Assumed: {note}.\n" in path.read_text(encoding="utf-8") for note in assumed)


def test_one_channel_is_gray(save: Callable[..., Path]) -> None:
    path, assumed = write_starter(save(network((8, 6, 1))))
    assert read_spec(path).preprocessing.colour == "gray"
    assert not any("colour" in note for note in assumed)


def test_an_open_size_is_assumed_and_reported(save: Callable[..., Path]) -> None:
    path, assumed = write_starter(save(network((None, 6, 3))))
    assert (read_spec(path).preprocessing.height, read_spec(path).preprocessing.width) == (224, 6)
    assert "height is 224, since the model takes any height" in assumed


@pytest.mark.parametrize(
    ("file", "name"),
    [("my pets (2).keras", "my-pets-2-"), ('qu"ote\\.keras', "qu-ote-"), ("köter.v2.keras", "k-ter.v2"), ("_.keras", "model")],
)
def test_a_name_that_is_no_folder_name_is_changed(save: Callable[..., Path], file: str, name: str) -> None:
    model = save(network(), file)
    spec = read_spec(write_starter(model)[0])
    assert (spec.name, spec.model) == (name, model)


def test_an_existing_config_is_not_replaced(save: Callable[..., Path]) -> None:
    model = save(network())
    model.with_suffix(".toml").write_text("mine", encoding="utf-8")
    with pytest.raises(EdgeError, match=r"pets\.toml", check=coded("EF-config-exists")):
        write_starter(model)
    assert model.with_suffix(".toml").read_text(encoding="utf-8") == "mine"


def test_a_model_that_takes_no_image_gets_no_config(save: Callable[..., Path], tmp_path: Path) -> None:
    model = save(keras.Sequential([keras.Input((20, 6)), layers.LSTM(4), layers.Dense(3)]))
    with pytest.raises(EdgeError, match=r"\(None, 20, 6\)", check=coded("EF-model-input")):
        write_starter(model)
    assert [path.name for path in tmp_path.iterdir()] == ["pets.keras"]


@pytest.mark.parametrize(
    ("shape", "named"), [((8, 6, 4), "4 channels"), ((8, 6, 2), "2 channels"), ((3, 8, 6), r"channels first \(3, 8, 6\)")]
)
def test_a_model_of_other_channels_gets_no_config_but_a_reason(
    save: Callable[..., Path], tmp_path: Path, shape: tuple[int, int, int], named: str
) -> None:
    with pytest.raises(EdgeError, match=named, check=coded("EF-model-input")):
        write_starter(save(network(shape)))
    assert [path.name for path in tmp_path.iterdir()] == ["pets.keras"]


def test_a_model_with_weights_that_are_not_finite_gets_no_config(save: Callable[..., Path], tmp_path: Path) -> None:
    model = network()
    model.layers[-1].bias.assign([0.0, float("nan"), 0.0])
    with pytest.raises(EdgeError, match="bias", check=coded("EF-model-not-finite")):
        write_starter(save(model))
    assert [path.name for path in tmp_path.iterdir()] == ["pets.keras"]


def test_a_gray_image_without_a_channel_gets_a_config_of_one_channel(save: Callable[..., Path]) -> None:
    model = keras.Sequential([keras.Input((28, 28)), layers.Flatten(), layers.Dense(3, activation="softmax")])
    path, assumed = write_starter(save(model))
    how = read_spec(path).preprocessing
    assert (how.height, how.width, how.colour) == (28, 28, "gray")
    assert assumed[0] == "the model takes (28, 28), images without a channel, and is given one: (28, 28, 1)"


def test_a_model_that_outputs_one_number_between_minus_1_and_1_gets_no_config(save: Callable[..., Path]) -> None:
    x = keras.Input((8, 6, 3))
    with pytest.raises(EdgeError, match="one number", check=coded("EF-model-output")):
        write_starter(save(keras.Model(x, layers.Dense(1, activation="tanh")(layers.Flatten()(x)))))


def test_two_inputs_get_no_config(save: Callable[..., Path]) -> None:
    x, y = keras.Input((8, 6, 3)), keras.Input((8, 6, 3))
    model = keras.Model([x, y], layers.Dense(3)(layers.Flatten()(layers.Add()([x, y]))))
    with pytest.raises(EdgeError, match="2 inputs", check=coded("EF-model-tensor-count")):
        write_starter(save(model))


def test_a_missing_model_gets_no_config(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"none\.keras", check=coded("EF-model-missing")):
        write_starter(tmp_path / "none.keras")
    assert not list(tmp_path.iterdir())


def test_the_labels_of_a_file_next_to_the_model_are_taken_where_their_number_fits(
    save: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\nfish\n", encoding="utf-8")
    path, assumed = write_starter(save(network()))
    assert read_spec(path).labels == ("cat", "dog", "fish")
    assert "labels are those of labels.txt, in this order" in assumed


def test_a_file_of_another_number_of_labels_is_left_alone(save: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n", encoding="utf-8")
    assert read_spec(write_starter(save(network()))[0]).labels == ("0", "1", "2")


@pytest.mark.parametrize("apart", [False, True], ids=["in-the-layer", "after-it"])
def test_a_model_that_ends_in_several_sigmoids_gets_a_multilabel_config(save: Callable[..., Path], *, apart: bool) -> None:
    image = keras.Input((8, 6, 3))
    x = layers.Dense(3, activation=None if apart else "sigmoid")(layers.GlobalAveragePooling2D()(image))
    path, assumed = write_starter(save(keras.Model(image, layers.Activation("sigmoid")(x) if apart else x)))
    assert read_spec(path).output == "multilabel"
    assert SEVERAL_LABELS in assumed
