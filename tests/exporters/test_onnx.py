# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.onnx import float32, int8
from edgeferry.exporters.onnx.conversion import OnnxOptions
from edgeferry.models.artifact import read_artifact
from edgeferry.models.decision import probabilities_of
from edgeferry.models.preprocessing import normalise
from edgeferry.models.reference import PIXELS, REFERENCE, read_reference
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.yardstick import read_yardstick


def _model(exported: Any) -> onnx.ModelProto:
    return onnx.load(exported.build / "onnx-float32" / "model.onnx")


def test_the_batch_axis_is_dynamic_and_named(exported_digits: Any) -> None:
    graph = _model(exported_digits).graph
    assert [tensor.type.tensor_type.shape.dim[0].dim_param for tensor in (*graph.input, *graph.output)] == ["batch", "batch"]


def test_inputs_and_outputs_have_their_names(exported_digits: Any) -> None:
    graph = _model(exported_digits).graph
    assert [tensor.name for tensor in (*graph.input, *graph.output)] == ["image", "probabilities"]


def test_labels_and_preprocessing_are_in_the_metadata(exported_colours: Any) -> None:
    metadata = {entry.key: json.loads(entry.value) for entry in _model(exported_colours).metadata_props}
    assert metadata["labels"] == list(exported_colours.spec.labels)
    assert metadata["preprocessing"]["mean"] == [40, 45, 50]
    assert metadata["output"] == "probabilities"


def test_the_requested_opset_is_written(digits_source: Source, tmp_path: Path) -> None:
    float32.write(digits_source, tmp_path, OnnxOptions(opset=15))
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 15


def test_an_opset_that_tf2onnx_does_not_write_is_refused(digits_source: Source, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="99; expected 13 to 18") as caught:
        float32.write(digits_source, tmp_path, OnnxOptions(opset=99))
    assert caught.value.code == "EF-onnx-opset"


def _integer_weights(path: Path) -> dict[bool, int]:
    """Return the largest weight in integers of the depthwise convolutions (True) and of the other layers (False) of a file."""
    graph = onnx.load(path).graph
    held, makers = {each.name: each for each in graph.initializer}, {each.output[0]: each for each in graph.node}
    found = {True: 0, False: 0}
    for node in (each for each in graph.node if each.op_type in int8.LINEAR):
        weights = onnx.numpy_helper.to_array(held[makers[node.input[1]].input[0]]).astype(int)
        groups = next((each.i for each in node.attribute if each.name == "group"), 1)
        found[groups > 1] = max(found[groups > 1], abs(weights).max())
    return found


def test_no_two_products_of_an_int8_file_exceed_16_bits_but_in_depthwise_layers(exported_digits: Any) -> None:
    assert _integer_weights(exported_digits.build / "onnx-int8" / "model.onnx") == {True: 127, False: 64}


def test_weights_have_8_bits_where_the_config_says_so(digits_source: Source, tmp_path: Path) -> None:
    int8.write(digits_source, tmp_path, int8.OnnxInt8Options(weight_bits=8))
    assert _integer_weights(tmp_path / "model.onnx") == {True: 127, False: 127}


def test_a_file_without_a_layer_in_integers_is_refused(
    digits_source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "COMPUTING", ("Concat",))
    with pytest.raises(EdgeError) as caught:
        int8.write(digits_source, tmp_path)
    assert caught.value.code == "EF-onnx-not-quantized"


@pytest.mark.parametrize("classifier", ["exported_digits", "exported_colours"])
def test_an_int8_file_computes_what_is_simulated(classifier: str, request: pytest.FixtureRequest) -> None:
    build = request.getfixturevalue(classifier).build
    artifact, reference = read_artifact(build / "onnx-int8"), read_reference(build / REFERENCE)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(build / "onnx-int8" / "model.onnx", options)
    images = normalise(np.load(build / REFERENCE / PIXELS), artifact.preprocessing)
    found = probabilities_of(session.run(None, {"image": images})[0], artifact.output)
    simulated = read_yardstick(build, artifact.precision, reference)
    assert (np.abs(found - simulated[: len(found)]).max(axis=1) < 1e-4).mean() > 0.95


def test_a_float16_file_holds_float16_between_float32_input_and_output(exported_digits: Any) -> None:
    artifact = read_artifact(exported_digits.build / "onnx-float16")
    graph = onnx.load(exported_digits.build / "onnx-float16" / "model.onnx").graph
    assert [tensor.dtype for tensor in (*artifact.inputs, *artifact.outputs)] == ["float32", "float32"]
    assert onnx.TensorProto.FLOAT not in {each.data_type for each in graph.initializer}
