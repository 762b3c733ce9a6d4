# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from typer.testing import CliRunner

from edgeferry.commands.app import app
from edgeferry.models.config.spec import ModelSpec, read_spec
from edgeferry.models.config.starter import write_starter
from edgeferry.models.keras_loader import load_model
from edgeferry.models.loading.custom_module import custom_module, imported_classes, module_digest, refuse_absent
from edgeferry.models.loading.loaded import Loaded
from edgeferry.models.loading.task import without_preprocessor
from edgeferry.models.reference import changed_config_keys, config_digests
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.keras import TARGETS
from edgeferry.targets.target import Absent, Job

SHAPE = (8, 6, 3)
# Own names for each test: what Keras registers stays registered as long as the process lives.
CODE = """
import keras

@keras.saving.register_keras_serializable("{package}")
class Halve(keras.Layer):
    def call(self, x):
        return x / 2

@keras.saving.register_keras_serializable("{package}")
def squared(x):
    return keras.ops.square(x)

class Unregistered{package}(keras.Layer):
    def call(self, x):
        return x * 3
"""


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def model(package: str, *more: dict[str, Any]) -> dict[str, Any]:
    """Return the configuration of a model that uses the classes of ``CODE``, as Keras writes it."""
    shape = {"batch_shape": [None, *SHAPE], "dtype": "float32", "name": "image"}
    dense = {"units": 3, "activation": "softmax", "name": "scores"}
    entries = [
        {"module": "keras.layers", "class_name": "InputLayer", "config": shape, "registered_name": None},
        {"module": "mine", "class_name": "Halve", "config": {"name": "h"}, "registered_name": f"{package}>Halve"},
        *more,
        {"module": "keras.layers", "class_name": "Flatten", "config": {"name": "flat"}, "registered_name": None},
        {"module": "keras.layers", "class_name": "Dense", "config": dense, "registered_name": None},
    ]
    return {"module": "keras", "class_name": "Sequential", "config": {"name": "my", "layers": entries}, "registered_name": None}


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[Path, Path]]:
    """Return a function from the name of a package to a model's file that needs it, and to the Python file that brings it."""

    def make(package: str, *more: dict[str, Any]) -> tuple[Path, Path]:
        code = tmp_path / f"{package}_layers.py"
        code.write_text(CODE.replace("{package}", package), encoding="utf-8")
        plain = keras.Sequential([keras.Input(SHAPE, name="image"), layers.Flatten(), layers.Dense(3, "softmax", name="scores")])
        plain.save(tmp_path / "plain.keras")
        path = tmp_path / "my.keras"
        with zipfile.ZipFile(tmp_path / "plain.keras") as old, zipfile.ZipFile(path, "w") as new:
            for name in old.namelist():
                new.writestr(name, json.dumps(model(package, *more)) if name == "config.json" else old.read(name))
        return path, code

    return make


def test_a_registered_class_is_refused_and_the_option_is_named(made: Callable[..., tuple[Path, Path]]) -> None:
    path, _ = made("refused")
    with pytest.raises(EdgeError, match=r"'refused>Halve'.*--custom-module", check=coded("EF-model-custom-class")):
        load_model(path)


def test_a_registered_class_is_loaded_with_the_file_that_brings_it(made: Callable[..., tuple[Path, Path]]) -> None:
    path, code = made("loaded")
    image = np.full((1, *SHAPE), 4, np.float32)
    found = load_model(path, str(code))(image)
    expected = load_model(path.with_name("plain.keras"))(image / 2)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_class_that_is_not_registered_is_found_by_its_name(made: Callable[..., tuple[Path, Path]]) -> None:
    path, code = made(
        "named", {"module": "mine", "class_name": "Unregisterednamed", "config": {}, "registered_name": "Unregisterednamed"}
    )
    assert load_model(path, str(code)).output_shape == (None, 3)


def test_a_class_that_the_file_does_not_bring_is_named_with_the_file(
    made: Callable[..., tuple[Path, Path]], tmp_path: Path
) -> None:
    path, _ = made("absent")
    (tmp_path / "other.py").write_text("import keras\n", encoding="utf-8")
    with pytest.raises(EdgeError, match=r"'absent>Halve', which .*other\.py does not register"):
        load_model(path, str(tmp_path / "other.py"))


@pytest.mark.parametrize("name", ["system", "Popen"])
def test_a_custom_module_opens_no_other_module(made: Callable[..., tuple[Path, Path]], name: str) -> None:
    path, code = made("closed", {"module": "os", "class_name": name, "config": "touch ran", "registered_name": None})
    with pytest.raises(EdgeError, match=f"'os.{name}'", check=coded("EF-model-custom-class")):
        load_model(path, str(code))


def test_a_lambda_stays_refused_and_the_way_out_is_named(made: Callable[..., tuple[Path, Path]]) -> None:
    lambda_layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"name": "trick"}, "registered_name": None}
    path, code = made("risky", lambda_layer)
    with pytest.raises(EdgeError, match=r"'trick' is a Lambda.*registered.*--custom-module", check=coded("EF-model-lambda")):
        load_model(path, str(code))


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ("import keras\n\nraise ValueError('no GPU')\n", r"broken\.py, line 3: ValueError: no GPU; "),
        ("import nothing_of_this_name\n", r"broken\.py, line 1: ModuleNotFoundError: "),
        ("def f(:\n", r"broken\.py, line 1: SyntaxError: "),
        ("import sys\nsys.exit(0)\n", r"broken\.py, line 2: SystemExit: 0; "),
        ("import json\njson.loads('{')\n", r"broken\.py, line 2: JSONDecodeError: "),
    ],
)
def test_an_error_while_importing_is_one_sentence_with_file_and_line(tmp_path: Path, text: str, where: str) -> None:
    code = tmp_path / "broken.py"
    code.write_text(text, encoding="utf-8")
    with pytest.raises(EdgeError, match=where, check=coded("EF-custom-module-import")) as caught:
        imported_classes(str(code))
    assert "\n" not in str(caught.value)


def test_a_file_of_the_name_of_another_module_hides_nothing(tmp_path: Path) -> None:
    code = tmp_path / "json.py"
    code.write_text("import keras\nclass Mine(keras.Layer):\n    pass\n", encoding="utf-8")
    assert "Mine" in imported_classes(str(code))
    assert sys.modules["json"] is json


def test_a_module_next_to_the_file_is_found(tmp_path: Path) -> None:
    (tmp_path / "beside_the_custom_module.py").write_text("FACTOR = 2\n", encoding="utf-8")
    code = tmp_path / "with_a_neighbour.py"
    code.write_text("from beside_the_custom_module import FACTOR\n", encoding="utf-8")
    assert imported_classes(str(code)) == {}


def test_a_package_is_named_without_importing_it() -> None:
    code = "import sys; from edgeferry.models.loading.custom_module import module_digest, refuse_absent; "
    code += "refuse_absent('keras'); module_digest('keras'); sys.exit('keras' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


@pytest.mark.parametrize("text", ["nothing_of_this_name", "nothing.py"])
def test_what_is_not_there_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(EdgeError, match="nothing", check=coded("EF-custom-module-missing")):
        refuse_absent(custom_module(text, tmp_path, "--custom-module"))


@pytest.mark.parametrize("text", ["../layers", "a b", "", "os; import os"])
def test_what_is_no_file_and_no_name_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(EdgeError, check=coded("EF-custom-module-missing")):
        custom_module(text, tmp_path, "--custom-module")


def test_the_digest_follows_the_code(tmp_path: Path) -> None:
    code = tmp_path / "mine.py"
    code.write_text("x = 1\n", encoding="utf-8")
    before = module_digest(str(code))
    code.write_text("x = 2\n", encoding="utf-8")
    assert module_digest(str(code)) != before
    assert module_digest(str(tmp_path / "absent.py")) is None


# Configs and commands.


@pytest.fixture
def spec(made: Callable[..., tuple[Path, Path]]) -> ModelSpec:
    """Return the starter config of a model that needs code."""
    path, code = made("config")
    return read_spec(write_starter(path, code=str(code))[0])


@pytest.mark.slow
def test_a_config_names_code_and_does_not_run_it(spec: ModelSpec) -> None:
    assert 'custom_module = "config_layers.py"' in spec.path.read_text(encoding="utf-8")
    assert spec.custom_module == str(spec.path.with_name("config_layers.py"))
    assert spec.code is None


@pytest.mark.slow
def test_artifacts_are_stale_when_the_code_changes(spec: ModelSpec) -> None:
    reference: Any = type("Recorded", (), {"config_digests": config_digests(spec)})
    assert changed_config_keys(spec, reference) == ()
    assert changed_config_keys(replace(spec, custom_module=None), reference) == ()
    with Path(str(spec.custom_module)).open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert changed_config_keys(spec, reference) == ("model.custom_module",)


@pytest.mark.slow
@pytest.mark.parametrize("command", ["export", "export-all", "validate"])
def test_a_command_that_does_not_name_the_code_of_a_config_says_so(spec: ModelSpec, command: str) -> None:
    spec.golden.mkdir()
    done = CliRunner().invoke(app, [command, str(spec.path)])
    assert done.exit_code == 2
    assert "[EF-custom-module-unnamed]" in done.stderr
    assert f"--custom-module {spec.custom_module}" in done.stderr


@pytest.mark.slow
def test_init_says_that_code_runs(made: Callable[..., tuple[Path, Path]]) -> None:
    path, code = made("said")
    done = CliRunner().invoke(app, ["init", str(path), "--custom-module", str(code)])
    assert f"{code} is code that runs" in done.stderr
    assert done.exit_code == 0


def test_a_keras_file_that_needs_code_is_not_checked_without_it(
    made: Callable[..., tuple[Path, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, _ = made("unchecked")
    # TensorFlow has started in this process already.
    for name in ("set_intra_op_parallelism_threads", "set_inter_op_parallelism_threads"):
        monkeypatch.setattr(tf.config.threading, name, lambda _: None)
    monkeypatch.setattr(Job, "main_file", property(lambda _: path))
    monkeypatch.setattr(Job, "artifact", property(lambda _: type("Artifact", (), {"kind": "keras"})))
    with pytest.raises(Absent, match="--custom-module"):
        TARGETS[0].run(Job(path.parent, path, path.parent))


# Classes of keras_hub.


@pytest.mark.parametrize("module", ["keras_hub.src.models.vgg", ""])
def test_a_class_of_keras_hub_is_refused_with_two_ways_out(made: Callable[..., tuple[Path, Path]], module: str) -> None:
    classifier = {"module": module, "class_name": "Vgg", "config": {}, "registered_name": "keras_hub>VGGImageClassifier"}
    path, code = made("hub", classifier)
    with pytest.raises(EdgeError, match=r"--custom-module keras_hub\b.*clone_model", check=coded("EF-model-custom-class")):
        load_model(path, str(code))


def test_the_lines_for_keras_hub_make_a_plain_model_that_predicts_the_same(tmp_path: Path) -> None:
    from edgeferry.models.loading.custom_classes import UNWRAP

    @keras.saving.register_keras_serializable("hub_like")
    class Backbone(keras.Model):
        def __init__(self, **options: Any) -> None:
            x = keras.Input(SHAPE)
            super().__init__(x, layers.Conv2D(4, 3)(x), **options)

    @keras.saving.register_keras_serializable("hub_like")
    class Classifier(keras.Model):
        def __init__(self, backbone: keras.Model) -> None:
            x = backbone(backbone.input)
            super().__init__(backbone.input, layers.Dense(3, "softmax")(x[:, 0, 0]))

    wrapped = Classifier(Backbone())
    program = "; ".join(UNWRAP).replace("plain.keras", str(tmp_path / "plain.keras"))
    exec(program, {"keras": keras, "model": wrapped})  # noqa: S102 - the lines that the error message gives
    image = np.random.default_rng(0).random((2, *SHAPE), np.float32)
    np.testing.assert_allclose(load_model(tmp_path / "plain.keras")(image), wrapped(image), atol=1e-6)


def test_a_classifier_of_keras_hub_is_its_network_without_the_preprocessor_of_predict() -> None:
    class Classifier(keras.Model):
        preprocessor = layers.Rescaling(1 / 255)

        def predict_on_batch(self, x: Any) -> Any:
            return super().predict_on_batch(self.preprocessor(x))

    Classifier.__module__ = "keras_hub.src.models.like_this"
    x = keras.Input(SHAPE)
    model = Classifier(x, layers.Dense(3, "softmax")(layers.Flatten()(x)))
    image = np.full((1, *SHAPE), 200, np.float32)
    found = without_preprocessor(Loaded(model))
    np.testing.assert_allclose(found.model.predict_on_batch(image), model(image), atol=1e-6)
    assert [each.code for each in found.changes] == ["model-preprocessor"]
