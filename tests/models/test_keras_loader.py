# SPDX-License-Identifier: Apache-2.0
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.keras_loader import classifier, load_model
from edgeferry.models.loading.file_check import check_file
from edgeferry.models.preprocessing import Preprocessing, normalise
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow

SHAPE = (8, 6, 3)
Config = Callable[..., ModelSpec]


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


class Scale(keras.Layer):
    def call(self, x: Any) -> Any:
        return x / 255


@keras.saving.register_keras_serializable(package="acme")
class Registered(keras.Layer):
    def call(self, x: Any) -> Any:
        return x / 255


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.head = layers.Dense(3, activation="softmax")

    def call(self, x: Any) -> Any:
        return self.head(keras.ops.reshape(x, (-1, 144)))


class OwnLoss(keras.losses.Loss):
    def call(self, truth: Any, prediction: Any) -> Any:
        return keras.losses.sparse_categorical_crossentropy(truth, prediction)


def image() -> Any:
    return keras.Input(SHAPE, name="image")


def head(x: Any, classes: int = 3, activation: str | None = "softmax", **options: Any) -> Any:
    return layers.Dense(classes, activation=activation, **options)(layers.Flatten()(x))


def plain() -> keras.Model:
    x = image()
    return keras.Model(x, head(layers.Rescaling(1 / 255)(x)), name="plain")


def sequential_with_softmax_layer() -> keras.Model:
    return keras.Sequential([image(), layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3), layers.Softmax()])


def sequential_without_input() -> keras.Model:
    model = keras.Sequential([layers.Rescaling(1 / 255), layers.Flatten(), layers.Dense(3, activation="softmax")])
    model.compile(loss=OwnLoss())
    model.fit(np.zeros((8, *SHAPE)), np.zeros(8), batch_size=4, verbose=0)
    return model


def nested() -> keras.Model:
    x = image()
    inner_input = keras.Input(SHAPE)
    inner = keras.Model(
        inner_input, layers.ReLU(6.0)(layers.BatchNormalization()(layers.Conv2D(4, 3)(inner_input))), name="inner"
    )
    return keras.Model(x, head(inner(layers.Rescaling(1 / 255)(x))))


def two_branches_and_a_shared_layer() -> keras.Model:
    x = image()
    shared = layers.Conv2D(4, 3, padding="same", activation="gelu")
    scaled = layers.Rescaling(1 / 255)(x)
    return keras.Model(x, head(layers.Concatenate()([shared(scaled), shared(layers.AveragePooling2D(1)(scaled))])))


def attention() -> keras.Model:
    x = image()
    patches = layers.Reshape((12, 8))(layers.Conv2D(8, 2, strides=2)(layers.Rescaling(1 / 255)(x)))
    mixed = layers.LayerNormalization()(patches + layers.MultiHeadAttention(2, 4)(patches, patches))
    return keras.Model(x, head(layers.GlobalAveragePooling1D()(mixed)))


def augmented() -> keras.Model:
    x = image()
    turned = layers.RandomRotation(0.2)(layers.RandomFlip("horizontal")(x))
    return keras.Model(x, head(layers.Dropout(0.5)(layers.Rescaling(1 / 255)(turned))))


def dict_in_dict_out() -> keras.Model:
    x = image()
    return keras.Model({"image": x}, {"scores": head(layers.Rescaling(1 / 255)(x))})


def list_in_list_out() -> keras.Model:
    x = image()
    return keras.Model([x], [head(layers.Rescaling(1 / 255)(x))])


def bytes_in() -> keras.Model:
    x = keras.Input(SHAPE, dtype="uint8")
    return keras.Model(x, head(layers.Rescaling(1 / 255)(x)))


def open_size() -> keras.Model:
    x = keras.Input((None, None, 3))
    pooled = layers.GlobalAveragePooling2D()(layers.Conv2D(4, 3)(layers.Rescaling(1 / 255)(x)))
    return keras.Model(x, layers.Dense(3, activation="softmax")(pooled))


def two_inputs() -> keras.Model:
    x, meta = image(), keras.Input((2,), name="meta")
    return keras.Model([x, meta], head(layers.Concatenate()([layers.Flatten()(x), meta])))


def two_outputs() -> keras.Model:
    x = image()
    return keras.Model(x, {"kind": head(x, name="kind"), "age": head(x, 1, None, name="age")})


def map_out() -> keras.Model:
    x = image()
    return keras.Model(x, layers.Conv2D(3, 1, activation="softmax")(x))


def sequence_in() -> keras.Model:
    return keras.Sequential([keras.Input((20, 6)), layers.LSTM(4), layers.Dense(3, activation="softmax")])


def channels_first() -> keras.Model:
    x = keras.Input((3, 8, 6))
    return keras.Model(x, head(x))


def four_channels() -> keras.Model:
    x = keras.Input((8, 6, 4))
    return keras.Model(x, head(x))


def volume_in() -> keras.Model:
    return keras.Sequential([keras.Input((4, 8, 6, 3)), layers.Conv3D(2, 3), layers.Flatten(), layers.Dense(3)])


def text_in() -> keras.Model:
    x = keras.Input((1,), dtype="string")
    tokens = layers.TextVectorization(max_tokens=5, output_sequence_length=4, vocabulary=["a", "b"])(x)
    return keras.Model(x, head(layers.Embedding(5, 4)(tokens)))


def not_a_number() -> keras.Model:
    model = plain()
    kernel, bias = model.layers[-1].get_weights()
    kernel[3, 1] = np.nan
    model.layers[-1].set_weights([kernel, bias])
    return model


def quantized_by_keras() -> keras.Model:
    x = image()
    model = keras.Model(x, layers.Dense(3, activation="softmax")(layers.Flatten()(x)))
    model.quantize("int8", filters="dense.*")
    return model


def not_built() -> keras.Model:
    return keras.Sequential([layers.Flatten(), layers.Dense(3)])


def unregistered_layer() -> keras.Model:
    x = image()
    return keras.Model(x, head(Scale()(x)))


def registered_layer() -> keras.Model:
    x = image()
    return keras.Model(x, head(Registered()(x)))


def subclassed() -> keras.Model:
    model = Subclassed()
    model(np.zeros((1, *SHAPE)))
    return model


def lambda_activation() -> keras.Model:
    x = image()
    return keras.Model(x, layers.Dense(3, activation=lambda y: y * 2)(layers.Flatten()(x)))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that saves what another one builds, once."""
    folder = tmp_path_factory.mktemp("models")

    def save(build: Callable[[], keras.Model], suffix: str = ".keras") -> Path:
        path = folder / f"{build.__name__}{suffix}"
        if not path.exists():
            keras.utils.set_random_seed(5)
            build().save(path)
        return path

    return save


def copied(path: Path, folder: Path, name: str = "") -> Path:
    return Path(shutil.copy(path, folder / (name or path.name)))


def rewritten(source: Path, target: Path, edit: Callable[[dict[str, Any]], Any], member: str = "config.json") -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, json.dumps(edit(json.loads(data))) if name == member else data)
    return target


# What works.


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    ("build", "suffix"),
    [
        *((build, ".keras") for build in (plain, sequential_with_softmax_layer, sequential_without_input, nested, attention)),
        *((build, ".keras") for build in (two_branches_and_a_shared_layer, augmented, dict_in_dict_out, list_in_list_out)),
        *((build, ".keras") for build in (bytes_in, open_size)),
        *((build, ".h5") for build in (plain, nested)),
    ],
)
def test_an_image_classifier_is_loaded_and_predicts_one_row_per_image(
    saved: Callable[..., Path], config_for: Config, build: Callable[[], keras.Model], suffix: str
) -> None:
    spec = config_for(saved(build, suffix))
    pixels = np.random.default_rng(1).integers(0, 256, (5, *SHAPE), dtype=np.uint8)
    images = normalise(pixels, spec.preprocessing)
    scores = [classifier(spec).predict_on_batch(images) for _ in range(2)]
    assert scores[0].shape == (5, 3)
    assert np.allclose(scores[0].sum(axis=1), 1, atol=1e-5)
    assert np.array_equal(*scores)
    assert len(np.unique(scores[0], axis=0)) == 5


def test_a_model_taken_out_of_a_dict_predicts_as_before(saved: Callable[..., Path]) -> None:
    path = saved(dict_in_dict_out)
    images = np.random.default_rng(2).uniform(0, 255, (4, *SHAPE)).astype(np.float32)
    whole = keras.saving.load_model(path).predict_on_batch({"image": images})["scores"]
    assert np.array_equal(load_model(path).predict_on_batch(images), whole)


def test_a_classifier_is_loaded_once_per_process(saved: Callable[..., Path], config_for: Config) -> None:
    spec = config_for(saved(plain))
    assert classifier(spec) is classifier(config_for(saved(plain)))


# Files that are no Keras model.


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"my\.keras", check=coded("EF-model-missing")):
        load_model(tmp_path / "my.keras")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="a folder", check=coded("EF-model-file-kind")):
        load_model(tmp_path)


@pytest.mark.parametrize(
    ("data", "code", "value"),
    [
        (b"", "EF-model-damaged", "empty"),
        (b"my weights are great\n", "EF-model-file-kind", "b'my weigh'"),
        (b"PK\x05\x06" + bytes(18), "EF-model-file-kind", "b'PK"),
        (b"PK\x03\x04", "EF-model-damaged", "File is not a zip file"),
        (b"\x89HDF\r\n\x1a\n", "EF-model-damaged", "cut short"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, data: bytes, code: str, value: str) -> None:
    path = tmp_path / ("my.h5" if b"HDF" in data else "my.keras")
    path.write_bytes(data)
    with pytest.raises(EdgeError, match=value, check=coded(code)):
        load_model(path)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.95])
def test_a_file_cut_short_is_refused(saved: Callable[..., Path], tmp_path: Path, suffix: str, part: float) -> None:
    path = copied(saved(plain, suffix), tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * part)])
    with pytest.raises(EdgeError, check=coded("EF-model-damaged")):
        load_model(path)


def test_a_member_that_was_changed_is_named(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = copied(saved(plain), tmp_path)
    data = bytearray(path.read_bytes())
    data[data.index(b"\x89HDF") + 900] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(EdgeError, match=r"model\.weights\.h5", check=coded("EF-model-damaged")):
        load_model(path)


def test_a_compressed_member_that_was_changed_is_refused(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = rewritten(saved(plain), tmp_path / "my.keras", lambda config: config)
    data = bytearray(path.read_bytes())
    data[200:240] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(EdgeError, check=coded("EF-model-damaged")):
        load_model(path)


def test_a_zip_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "my.keras", "w") as archive:
        archive.writestr("photo.txt", "a cat")
    with pytest.raises(EdgeError, match=r"config\.json", check=coded("EF-model-file-kind")):
        load_model(tmp_path / "my.keras")


@pytest.mark.parametrize(
    ("member", "value"), [("config.json", []), ("config.json", {"class_name": "Functional"}), ("metadata.json", [])]
)
def test_a_model_file_without_content_is_refused(saved: Callable[..., Path], tmp_path: Path, member: str, value: Any) -> None:
    with pytest.raises(EdgeError, match=r"my\.keras: "):
        load_model(rewritten(saved(plain), tmp_path / "my.keras", lambda _: value, member))


def test_a_layer_is_no_model(saved: Callable[..., Path], tmp_path: Path) -> None:
    dense = {"module": "keras.layers", "class_name": "Dense", "config": {"units": 3}, "registered_name": None}
    with pytest.raises(EdgeError, match="Dense", check=coded("EF-model-incomplete")):
        load_model(rewritten(saved(plain), tmp_path / "my.keras", lambda _: dense))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
@pytest.mark.parametrize(
    ("suffix", "name", "better"),
    [(".keras", "my.zip", "my.keras"), (".keras", "my.h5", "my.keras"), (".h5", "my.keras", "my.h5")],
)
def test_a_model_with_a_wrong_suffix_is_refused_with_the_right_one(
    saved: Callable[..., Path], tmp_path: Path, suffix: str, name: str, better: str
) -> None:
    with pytest.raises(EdgeError, match=rf"'\..*'.*{better}", check=coded("EF-model-suffix")):
        load_model(copied(saved(plain, suffix), tmp_path, name))


def test_a_file_of_weights_is_refused(saved: Callable[..., Path], tmp_path: Path) -> None:
    load_model(saved(plain)).save_weights(tmp_path / "my.weights.h5")
    with pytest.raises(EdgeError, match="weights only", check=coded("EF-model-incomplete")):
        load_model(tmp_path / "my.weights.h5")


def test_a_keras_3_model_that_says_it_is_of_keras_2_is_refused(saved: Callable[..., Path], tmp_path: Path) -> None:
    path = rewritten(saved(plain), tmp_path / "old.keras", lambda fields: {**fields, "keras_version": "2.15.0"}, "metadata.json")
    with pytest.raises(EdgeError, match="as Keras 3 does", check=coded("EF-model-keras-2")):
        load_model(path)


def test_a_file_is_checked_without_keras(saved: Callable[..., Path]) -> None:
    code = "import sys; from pathlib import Path; from edgeferry.models.loading.file_check import check_file\n"
    code += "check_file(Path(sys.argv[1])); "
    code += "sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, str(saved(plain))], check=True, timeout=60)


# What is code.


def test_a_lambda_is_refused_and_not_run(tmp_path: Path) -> None:
    ran = str(tmp_path / "ran")
    harmful = layers.Lambda(lambda x: (open(ran, "w").close(), x)[1], name="trick")  # noqa: PTH123
    x = image()
    keras.Model(x, head(harmful(x))).save(tmp_path / "my.keras")
    Path(ran).unlink(missing_ok=True)
    with pytest.raises(EdgeError, match="'trick'", check=coded("EF-model-lambda")):
        load_model(tmp_path / "my.keras")
    assert not Path(ran).exists()
    with pytest.raises(EdgeError, match="'trick'", check=coded("EF-model-lambda")):
        load_model(rewritten(tmp_path / "my.keras", tmp_path / "again.keras", lambda config: {"nested": [config]}))
    keras.saving.load_model(tmp_path / "my.keras", safe_mode=False)
    assert Path(ran).exists(), "this test could not see a Lambda run"


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`")
def test_a_lambda_as_activation_is_refused(saved: Callable[..., Path]) -> None:
    with pytest.raises(EdgeError, match="activation function", check=coded("EF-model-load")):
        load_model(saved(lambda_activation))


@pytest.mark.parametrize(
    ("named", "config"),
    [
        ("os.system", "touch {}"),
        ("os.system", {"command": "touch {}"}),
        ("subprocess.Popen", {"args": ["touch", "{}"]}),
        ("builtins.exec", "open('{}', 'w')"),
    ],
)
@pytest.mark.parametrize("where", ["model", "layer", "initializer"])
def test_a_config_that_names_a_function_of_the_system_is_refused_and_not_run(
    saved: Callable[..., Path], tmp_path: Path, named: str, config: Any, where: str
) -> None:
    ran = tmp_path / "ran"
    arguments = json.loads(json.dumps(config).replace("{}", str(ran)))
    module, name = named.split(".")
    harm = {"module": module, "class_name": name, "config": arguments, "registered_name": None}

    def edit(whole: dict[str, Any]) -> dict[str, Any]:
        last = whole["config"]["layers"][-1]
        if where == "model":
            return harm
        if where == "layer":
            last.update(harm)
        else:
            last["config"]["kernel_initializer"] = harm
        return whole

    with pytest.raises(EdgeError, match=f"'{named}'", check=coded("EF-model-custom-class")):
        load_model(rewritten(saved(plain), tmp_path / "my.keras", edit))
    assert not ran.exists()


@pytest.mark.parametrize(
    ("build", "named"), [(unregistered_layer, "Scale"), (registered_layer, "acme>Registered"), (subclassed, "Subclassed")]
)
def test_a_custom_class_is_named_in_one_line(saved: Callable[..., Path], build: Callable[[], keras.Model], named: str) -> None:
    with pytest.raises(EdgeError, match=f"'{named}'", check=coded("EF-model-custom-class")) as caught:
        load_model(saved(build))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_a_custom_class_in_an_h5_file_is_named_too(saved: Callable[..., Path]) -> None:
    with pytest.raises(EdgeError, match="'Scale'", check=coded("EF-model-load")):
        load_model(saved(unregistered_layer, ".h5"))


@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_an_h5_file_that_lost_part_of_the_model_names_the_better_format(saved: Callable[..., Path]) -> None:
    with pytest.raises(EdgeError, match=r"Save it as \.keras", check=coded("EF-model-load")):
        load_model(saved(attention, ".h5"))


def test_a_layer_keras_does_not_know_is_named_in_one_line(saved: Callable[..., Path], tmp_path: Path) -> None:
    def edit(whole: dict[str, Any]) -> dict[str, Any]:
        whole["config"]["layers"][-1]["class_name"] = "Dens"
        return whole

    with pytest.raises(EdgeError, match=r"Keras 3\.[0-9.]+ .*'keras\.layers\.Dens'", check=coded("EF-model-load")) as caught:
        load_model(rewritten(saved(plain), tmp_path / "my.keras", edit))
    assert "\n" not in str(caught.value)


# Models that are no image classifier, or not the one of the config.


@pytest.mark.filterwarnings("ignore:You are saving a model that has not yet been built")
@pytest.mark.filterwarnings("ignore:Layer .* does not have a `quantize` method implemented")
@pytest.mark.parametrize(
    ("build", "code", "value"),
    [
        (two_inputs, "EF-model-tensor-count", r"2 inputs \(image, meta\)"),
        (two_outputs, "EF-model-tensor-count", "2 outputs"),
        (map_out, "EF-model-output", r"\(None, 8, 6, 3\)"),
        (sequence_in, "EF-model-input", r"\(None, 20, 6\).* its first layer is LSTM"),
        (channels_first, "EF-model-input", r"channels first \(3, 8, 6\)"),
        (four_channels, "EF-model-input", "4 channels"),
        (volume_in, "EF-model-input", r"\(None, 4, 8, 6, 3\)"),
        (text_in, "EF-model-input", r"\(None, 1\)"),
        (not_a_number, "EF-model-not-finite", "'.*kernel'"),
        (quantized_by_keras, "EF-model-quantized", "int8_from_float32"),
        (not_built, "EF-model-not-built", r"keras\.Input"),
    ],
)
def test_a_model_that_is_no_image_classifier_is_refused(
    saved: Callable[..., Path], config_for: Config, build: Callable[[], keras.Model], code: str, value: str
) -> None:
    with pytest.raises(EdgeError, match=value, check=coded(code)):
        classifier(config_for(saved(build)))


@pytest.mark.parametrize(
    ("changes", "code", "value"),
    [
        ({"labels": ("cat", "dog")}, "EF-label-count", "2 labels.* 3 classes: add 1"),
        ({"labels": tuple("abcde")}, "EF-label-count", "5 labels.* 3 classes: remove 2"),
        (
            {"preprocessing": Preprocessing(6, 8, "rgb", (0.0,) * 3, (1.0,) * 3)},
            "EF-input-shape",
            r"\[6, 8, 3\].* plain\.keras .*\[8, 6, 3\]",
        ),
        (
            {"preprocessing": Preprocessing(8, 6, "gray", (0.0,), (1.0,))},
            "EF-input-shape",
            r"\[8, 6, 1\].* plain\.keras .*\[8, 6, 3\]",
        ),
    ],
)
def test_a_config_of_another_model_is_refused(
    saved: Callable[..., Path], config_for: Config, changes: dict[str, Any], code: str, value: str
) -> None:
    with pytest.raises(EdgeError, match=rf"plain\.toml: .*{value}", check=coded(code)):
        classifier(config_for(saved(plain), **changes))


def test_a_model_with_own_loss_and_optimizer_passes_the_file_check(saved: Callable[..., Path]) -> None:
    path = saved(sequential_without_input)
    with zipfile.ZipFile(path) as archive:
        assert b"OwnLoss" in archive.read("config.json")
    check_file(path)
