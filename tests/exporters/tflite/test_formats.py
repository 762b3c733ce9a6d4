# SPDX-License-Identifier: Apache-2.0
import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgeferry.exporters.graph import rewritten
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.readers.tflite_schema import tflite_schema
from edgeferry.exporters.tflite import formats as tflite
from edgeferry.models.artifact import read_artifact
from edgeferry.models.keras_loader import load_model
from edgeferry.models.system.errors import EdgeError


def names_of(path: Path) -> set[str]:
    return {operation.name for operation in read_graph(path).operations}


def scales_of_dense_weights(path: Path) -> list[int]:
    dense = [operation for operation in read_graph(path).operations if operation.name == "FULLY_CONNECTED"]
    return [weights.scales for operation in dense if (weights := operation.inputs[1]) is not None]


def test_the_public_recipe_with_a_keras_model_as_trackable_writes_a_file_without_weights(
    digits_source: Source, tmp_path: Path
) -> None:
    model = load_model(digits_source.spec.model)
    predict = tf.function(lambda image: model(image, training=False), input_signature=[tf.TensorSpec((1, 32, 32, 1))])
    spoiled = tf.lite.TFLiteConverter.from_concrete_functions([predict.get_concrete_function()], model).convert()
    assert len(spoiled) < model.count_params() * 4
    (tmp_path / "spoiled.tflite").write_bytes(spoiled)
    assert names_of(tmp_path / "spoiled.tflite") & tflite.VARIABLE_OPERATIONS


def test_a_file_without_weights_is_refused(digits_source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load_model(digits_source.spec.model)
    predict = tf.function(lambda image: model(image, training=False), input_signature=[tf.TensorSpec((1, 32, 32, 1))])
    trap = tf.lite.TFLiteConverter.from_concrete_functions([predict.get_concrete_function()], model)
    monkeypatch.setattr(tflite, "_converter", lambda source: trap)
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-tflite-variables"):
        tflite.float32(digits_source, tmp_path)


def test_the_exported_file_has_no_variable_and_all_weights(exported_digits: Any, digits_source: Source) -> None:
    path = exported_digits.build / "tflite-float32" / "model.tflite"
    weights = [tf.make_ndarray(node.attr["value"].tensor) for node in digits_source.graph.node if node.op == "Const"]
    assert not names_of(path) & tflite.VARIABLE_OPERATIONS
    assert path.stat().st_size > sum(values.nbytes for values in weights if values.size > 100)


def test_no_size_is_dynamic(exported_digits: Any) -> None:
    interpreter = Interpreter(str(exported_digits.build / "tflite-int8" / "model.tflite"))
    interpreter.allocate_tensors()
    assert all(-1 not in detail["shape_signature"] for detail in interpreter.get_tensor_details())


def test_int8_takes_raw_pixels_of_a_model_that_scales_them_itself(exported_digits: Any) -> None:
    (image,) = read_artifact(exported_digits.build / "tflite-int8").inputs
    assert (image.dtype, image.scale, image.zero_point) == ("uint8", 1.0, 0)


def test_dense_weights_have_one_scale(exported_digits: Any) -> None:
    assert scales_of_dense_weights(exported_digits.build / "tflite-int8" / "model.tflite") == [1]


def test_dense_weights_are_per_channel_on_request(digits_source: Source, tmp_path: Path) -> None:
    written = tflite.int8(digits_source, tmp_path, tflite.Int8Options(dense="per-channel", input_output="int8"))
    assert scales_of_dense_weights(tmp_path / "model.tflite") == [10]
    assert written.inputs[0].dtype == "int8"


@pytest.mark.parametrize("integer", ["uint8", "int8"])
def test_dense_as_a_convolution_stays_per_channel_and_outputs_the_same_integers(
    digits_source: Source, tmp_path: Path, integer: str
) -> None:
    outputs = {}
    for dense in ("per-channel", "convolution"):
        folder = tmp_path / dense
        folder.mkdir()
        written = tflite.int8(digits_source, folder, tflite.Int8Options(dense=dense, input_output=integer))
        assert written.options["dense"] == dense
        outputs[dense] = _integers(folder / "model.tflite", np.load(digits_source.folder / "pixels.npy")[:100], integer)
    assert "FULLY_CONNECTED" not in names_of(tmp_path / "convolution" / "model.tflite")
    assert len({output.tobytes() for output in outputs["convolution"]}) > 10
    np.testing.assert_array_equal(outputs["convolution"], outputs["per-channel"])
    assert written.notes == ()


def _integers(path: Path, pixels: Any, integer: str) -> Any:
    own_kernels = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(path), experimental_op_resolver_type=own_kernels)
    interpreter.allocate_tensors()
    takes, gives = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for image in pixels.astype(np.int16) - (128 if integer == "int8" else 0):
        interpreter.set_tensor(takes, image[None].astype(integer))
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(gives)[0].copy())
    return np.stack(outputs)


def test_dense_that_is_per_channel_without_a_request_is_refused(
    digits_source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tflite, "dense_as_convolution", lambda model: model)
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-tflite-dense-per-channel"):
        tflite.int8(digits_source, tmp_path, tflite.Int8Options(dense="convolution"))


def test_an_operation_that_stays_in_float_is_refused_by_its_name(
    digits_source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = type(digits_source.graph)()
    graph.CopyFrom(digits_source.graph)
    for node in graph.node:
        if node.op == "Relu6":
            node.op = "Cos"
    monkeypatch.setattr(rewritten, "difference_from_keras", lambda source: 0.0)
    with pytest.raises(EdgeError, match="COS of the layer ", check=lambda e: e.code == "EF-tflite-float"):
        tflite.int8(replace(digits_source, graph=graph), tmp_path)


def test_int8_refuses_without_calibration_images(digits_source: Source, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="an int8 artifact needs images to find its ranges"):
        tflite.int8(replace(digits_source, folder=tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["tflite-float32", "tflite-float16", "tflite-dynamic", "tflite-int8"])
def test_labels_follow_the_model_as_metadata(exported_colours: Any, name: str) -> None:
    with zipfile.ZipFile(exported_colours.build / name / "model.tflite") as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(exported_colours.spec.labels)


def test_the_metadata_table_holds_the_preprocessing(exported_colours: Any) -> None:
    from flatbuffers import table

    data = bytearray((exported_colours.build / "tflite-float32" / "model.tflite").read_bytes())
    model = tflite_schema().Model.GetRootAsModel(data, 0)
    entry = next(model.Metadata(at) for at in range(model.MetadataLength()) if model.Metadata(at).Name() == b"TFLITE_METADATA")
    data = model.Buffers(entry.Buffer()).DataAsNumpy().tobytes()
    assert data[4:8] == b"M001"

    def child(parent: Any, field: int) -> Any:
        offset = parent.Offset(4 + 2 * field)
        return table.Table(parent.Bytes, parent.Indirect(parent.Pos + offset))

    def first(parent: Any, field: int) -> Any:
        return table.Table(parent.Bytes, parent.Indirect(parent.Vector(parent.Offset(4 + 2 * field))))

    root = table.Table(bytearray(data), int.from_bytes(data[:4], "little"))
    image = first(first(root, 3), 2)
    options = child(first(image, 4), 1)
    mean = [np.frombuffer(data, np.float32, 3, options.Vector(options.Offset(4 + 2 * field))).tolist() for field in (0, 1)]
    assert mean == [[40.0, 45.0, 50.0], [60.0, 70.0, 80.0]]
    scores = first(first(root, 3), 3)
    file = first(scores, 6)
    assert file.String(file.Pos + file.Offset(4)) == b"labels.txt"


def test_the_ranges_that_integers_stand_for_are_written_next_to_the_file(exported_digits: Any) -> None:
    folder = exported_digits.build / "tflite-int8"
    (image,) = read_graph(folder / "model.tflite").inputs
    ranges = json.loads((folder / "ranges.json").read_text(encoding="utf-8"))["ranges"]
    assert all(low <= high for low, high in ranges.values())
    assert ranges[image.name] == [0, 255]


def test_pixels_that_a_layer_scales_from_minus_one_to_one_are_not_on_halves(exported_digits: Any) -> None:
    ranges = json.loads((exported_digits.build / "tflite-int8" / "ranges.json").read_text(encoding="utf-8"))["ranges"]
    (scaled,) = (each for name, each in ranges.items() if "rescaling" in name and name.endswith("add"))
    assert scaled == pytest.approx([-128 / 127, 1])
