# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from edgeferry.exporters.export import export_all
from edgeferry.models.config.locate import find_config
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.keras_loader import classifier, load, load_model
from edgeferry.models.reference import reference_key
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow

SHAPE = (8, 6, 3)
IMAGES = np.random.default_rng(6).uniform(0, 1, (5, *SHAPE)).astype(np.float32)


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def network(classes: int = 3, activation: str = "softmax") -> keras.Model:
    keras.utils.set_random_seed(4)
    x = keras.Input(SHAPE)
    y = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="relu")(x))
    return keras.Model(x, layers.Dense(classes, activation=activation)(layers.Flatten()(layers.Dropout(0.3)(y))))


def by_keras(folder: Path, model: keras.Model) -> Path:
    model.export(folder, verbose=False)
    return folder


class Plain(tf.Module):
    """A network without Keras: its weights, and what its signature computes."""

    def __init__(self, change: Callable[[Any], Any] = lambda x: x) -> None:
        super().__init__()
        self.kernel = tf.Variable(np.random.default_rng(1).normal(0, 1, (144, 3)).astype(np.float32))
        self.change = change

    @tf.function(input_signature=[tf.TensorSpec((None, *SHAPE), tf.float32, name="photo")])
    def serve(self, photo: Any) -> Any:
        return {"scores": tf.nn.softmax(self.change(tf.reshape(photo, (-1, 144))) @ self.kernel)}


def by_tensorflow(folder: Path, module: Any, **signatures: Any) -> Path:
    tf.saved_model.save(module, str(folder), signatures=signatures or {"serving_default": module.serve})
    return folder


def test_a_folder_that_keras_3_exported_predicts_as_the_model(tmp_path: Path, config_for: Callable[..., ModelSpec]) -> None:
    model = network()
    spec = config_for(by_keras(tmp_path / "pets", model))
    assert np.allclose(classifier(spec).predict_on_batch(IMAGES), model.predict_on_batch(IMAGES), atol=1e-6)


def test_a_folder_of_plain_tensorflow_predicts_as_its_signature(tmp_path: Path) -> None:
    module = Plain()
    scores = load_model(by_tensorflow(tmp_path / "pets", module)).predict_on_batch(IMAGES)
    assert np.allclose(scores, module.serve(IMAGES)["scores"], atol=1e-6)


def test_the_only_signature_is_taken_by_whichever_name(tmp_path: Path) -> None:
    module = Plain()
    loaded = load(by_tensorflow(tmp_path / "pets", module, predict=module.serve))
    assert loaded.changes[0].code == "model-saved-model"
    assert "'predict'" in loaded.changes[0].sentence


def test_one_sigmoid_at_the_end_of_a_folder_becomes_two_classes(tmp_path: Path) -> None:
    model = network(1, "sigmoid")
    p = model.predict_on_batch(IMAGES)
    scores = load_model(by_keras(tmp_path / "pets", model)).predict_on_batch(IMAGES)
    assert np.allclose(scores, np.hstack([1 - p, p]), atol=1e-6)


def test_a_folder_s_digest_follows_its_weights(tmp_path: Path, config_for: Callable[..., ModelSpec]) -> None:
    spec = config_for(by_tensorflow(tmp_path / "pets", Plain()))
    before = reference_key(spec)
    weights = tmp_path / "pets" / "variables" / "variables.data-00000-of-00001"
    assert reference_key(spec) == before
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    assert reference_key(spec) != before


def test_a_starter_is_written_next_to_the_folder(tmp_path: Path) -> None:
    by_keras(tmp_path / "pets.v2", network())
    notes: list[str] = []
    with pytest.raises(EdgeError, check=coded("EF-starter-written")):
        find_config(str(tmp_path / "pets.v2"), notes.append)
    (tmp_path / "golden").mkdir()
    spec = find_config(str(tmp_path / "pets.v2"), notes.append)
    assert spec.path == tmp_path / "pets.v2.toml"
    assert (spec.model, len(spec.labels)) == (tmp_path / "pets.v2", 3)


# What is refused.


def test_two_inputs_are_refused(tmp_path: Path) -> None:
    x, y = keras.Input(SHAPE, name="one"), keras.Input(SHAPE, name="two")
    model = keras.Model([x, y], layers.Dense(3)(layers.Flatten()(layers.Add()([x, y]))))
    with pytest.raises(EdgeError, match="2 inputs", check=coded("EF-model-tensor-count")):
        load_model(by_keras(tmp_path / "pets", model))


def test_two_signatures_without_the_usual_one_are_refused(tmp_path: Path) -> None:
    module = Plain()
    with pytest.raises(EdgeError, match=r"2 signatures \(a, b\)", check=coded("EF-model-signature")):
        load_model(by_tensorflow(tmp_path / "pets", module, a=module.serve, b=module.serve))


def touched(x: Any, path: Path) -> Any:
    with tf.control_dependencies([tf.io.write_file(str(path), "x")]):
        return tf.identity(x)


def test_a_function_that_writes_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    module = Plain(lambda x: touched(x, ran))
    folder = by_tensorflow(tmp_path / "pets", module)
    with pytest.raises(EdgeError, match="WriteFile", check=coded("EF-model-operation")):
        load_model(folder)
    assert not ran.exists()
    tf.saved_model.load(str(folder)).signatures["serving_default"](tf.constant(IMAGES))
    assert ran.exists(), "this test could not see the function run"


def test_a_function_of_the_same_name_as_those_for_saving_is_refused(tmp_path: Path) -> None:
    """What an object of the model can call is checked by whatever name."""
    folder = by_tensorflow(tmp_path / "pets", Plain(lambda x: touched(x, tmp_path / "ran")))
    graph = (folder / "saved_model.pb").read_bytes()
    found = next(each for each in _functions(graph) if each.startswith(b"__inference_serve_"))
    renamed = b"__inference__traced_save".ljust(len(found), b"_")[: len(found)]
    held = _parsed(graph)
    _rename(held, found.decode(), renamed.decode() + "_more")
    (folder / "saved_model.pb").write_bytes(held.SerializeToString())
    with pytest.raises(EdgeError, match="WriteFile", check=coded("EF-model-operation")):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def _parsed(graph: bytes) -> Any:
    from tensorflow.core.protobuf.saved_model_pb2 import SavedModel

    held = SavedModel()
    held.ParseFromString(graph)
    return held


def _functions(graph: bytes) -> list[bytes]:
    return [each.signature.name.encode() for each in _parsed(graph).meta_graphs[0].graph_def.library.function]


def _rename(held: Any, old: str, new: str) -> None:
    (meta,) = held.meta_graphs
    for function in meta.graph_def.library.function:
        function.signature.name = new if function.signature.name == old else function.signature.name
        for node in function.node_def:
            for value in node.attr.values():
                value.func.name = new if value.func.name == old else value.func.name
    if old in meta.object_graph_def.concrete_functions:
        meta.object_graph_def.concrete_functions[new].CopyFrom(meta.object_graph_def.concrete_functions.pop(old))


def test_python_in_a_graph_is_refused(tmp_path: Path) -> None:
    module = Plain(lambda x: tf.ensure_shape(tf.py_function(lambda y: y, [x], tf.float32), (None, 144)))
    with pytest.raises(EdgeError, match="EagerPyFunc", check=coded("EF-model-operation")):
        load_model(by_tensorflow(tmp_path / "pets", module))


def test_an_operation_that_is_not_tensorflow_s_own_is_named(tmp_path: Path) -> None:
    folder = by_tensorflow(tmp_path / "pets", Plain())
    held = _parsed((folder / "saved_model.pb").read_bytes())
    for function in held.meta_graphs[0].graph_def.library.function:
        for node in function.node_def:
            node.op = "AcmeSoftmax" if node.op == "Softmax" else node.op
    (folder / "saved_model.pb").write_bytes(held.SerializeToString())
    with pytest.raises(EdgeError, match="AcmeSoftmax", check=coded("EF-model-operation")):
        load_model(folder)


@pytest.mark.parametrize(("data", "code"), [(b"\xff" * 40, "EF-model-damaged"), (b"", "EF-model-incomplete")])
def test_a_damaged_folder_is_refused(tmp_path: Path, data: bytes, code: str) -> None:
    (tmp_path / "saved_model.pb").write_bytes(data)
    with pytest.raises(EdgeError, check=coded(code)):
        load_model(tmp_path)


def test_weights_that_are_missing_are_reported(tmp_path: Path) -> None:
    folder = by_tensorflow(tmp_path / "pets", Plain())
    (folder / "variables" / "variables.data-00000-of-00001").unlink()
    with pytest.raises(EdgeError, check=coded("EF-model-load")):
        load_model(folder)


def test_a_folder_with_links_is_refused(tmp_path: Path) -> None:
    folder = by_tensorflow(tmp_path / "pets", Plain())
    (folder / "assets" / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(EdgeError, match="links", check=coded("EF-model-file-kind")):
        load_model(folder)


@pytest.mark.parametrize("half", [tf.float16, tf.bfloat16])
def test_a_graph_in_half_precision_is_refused(tmp_path: Path, half: Any) -> None:
    module = Plain(lambda x: tf.cast(tf.cast(x, half) * 2, tf.float32))
    with pytest.raises(EdgeError, match=f"computes in {half.name}", check=coded("EF-model-precision")):
        load_model(by_tensorflow(tmp_path / "pets", module))


def test_weights_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    module = Plain()
    module.kernel[3, 1].assign(float("nan"))
    with pytest.raises(EdgeError, match="holds NaN", check=coded("EF-model-not-finite")):
        load_model(by_tensorflow(tmp_path / "pets", module))


# What is made of it.


def test_the_colour_classifier_as_a_folder_is_exported_and_keras_is_not_run(colours: ModelSpec, tmp_path: Path) -> None:
    folder = by_keras(tmp_path / "pets", keras.saving.load_model(colours.model))
    spec = replace(colours, model=folder, name="pets")
    exports = {
        each.format: each.state for each in export_all(spec, tmp_path / "build", ("keras", "tflite-float32"), lambda *_: None)
    }
    assert exports == {"keras": "not run", "tflite-float32": "written"}
    assert not list((tmp_path / "build").glob("keras/*"))
