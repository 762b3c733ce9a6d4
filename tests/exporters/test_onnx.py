# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from edgeferry.exporters import onnx as exporter
from edgeferry.exporters.graph.source import Source
from edgeferry.models.system.errors import EdgeError


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
    exporter.write(digits_source, tmp_path, exporter.OnnxOptions(opset=15))
    assert onnx.load(tmp_path / "model.onnx").opset_import[0].version == 15


def test_an_opset_that_tf2onnx_does_not_write_is_refused(digits_source: Source, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="99; expected 13 to 18") as caught:
        exporter.write(digits_source, tmp_path, exporter.OnnxOptions(opset=99))
    assert caught.value.code == "EF-onnx-opset"
