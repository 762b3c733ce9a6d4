# SPDX-License-Identifier: Apache-2.0
"""The gate can fail: every way to spoil an artifact that we know of, each seen to fail though its manifest is in order."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tensorflow as tf
from one_artifact import leave_only
from onnx import numpy_helper

from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.lanes import SideBySide
from edgeferry.benchmarks.parity.rows import Row, exit_status
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.exporters import worker
from edgeferry.exporters.format import formats
from edgeferry.exporters.graph.fold import constant_node
from edgeferry.exporters.graph.source import Source, read_source
from edgeferry.models.artifact import files_of, read_artifact, write_manifest
from edgeferry.models.exports import record_manifest
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.child import Child
from edgeferry.targets.target import choose

# Each kind of artifact, and a target that reads it without a browser.
TARGETS = {
    "keras": "keras",
    "savedmodel": "keras",
    "onnx-float32": "onnxruntime-cpu",
    "tflite-float32": "litert",
    "tflite-float16": "litert",
    "tflite-dynamic": "litert",
    "tflite-int8": "litert",
    "tfjs-float32": "node-wasm",
    "tfjs-uint8": "node-wasm",
}
# Formats of any other kind, each on the first target that reads it; the three kinds named have tests of their own.
COVERED = {"container", "coreml", "edgetpu"} | {formats()[name].kind for name in TARGETS}
OTHERS = {
    name: target.name
    for name, form in formats().items()
    for target in reversed(choose(None))
    if form.kind in (target.reads or ()) and form.kind not in COVERED and not form.missing()
}
TARGETS |= OTHERS
GRAPH_FORMATS = tuple(name for name in TARGETS if name != "keras")


@pytest.fixture(autouse=True)
def _share_child(child: Child, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every run of this module be in one process: importing TensorFlow takes seconds. One that dies is started again."""
    monkeypatch.setattr("edgeferry.benchmarks.parity.run.SideBySide", lambda *how: SideBySide(*how[:3], child))


@pytest.fixture
def colours_copy(exported_colours: Any, tmp_path: Path) -> Any:
    """Return the exported colour classifier in a folder of this test's own."""
    build = tmp_path / "colours"
    shutil.copytree(exported_colours.build, build)
    return exported_colours._replace(build=build)


@pytest.fixture(scope="module")
def source(exported_colours: Any) -> Source:
    """Return the colour classifier frozen."""
    return read_source(exported_colours.spec, exported_colours.build / REFERENCE)


def _row(build: Path, name: str, on: str | None = None) -> Row:
    target = choose((on or TARGETS[name],))
    if why := target[0].missing():
        pytest.skip(why)
    leave_only(name, build)
    (row,) = run_all(open_bench(build, target, lambda *_: None, reuse=False))
    return row


def _sign(folder: Path) -> None:
    """Put a folder's manifest in order, as a build that wrote the wrong thing would have."""
    write_manifest(replace(read_artifact(folder), files=files_of(folder)), folder)
    record_manifest(folder.parent, folder.name)


def _write_spoiled(copy: Any, name: str) -> None:
    worker.write(copy.spec, copy.build, name, {"tools": {}, "options": {}})
    record_manifest(copy.build, name)


def _weights(graph: Any, operation: str) -> tuple[Any, Any]:
    nodes = {node.name: node for node in graph.node}
    linear = next(node for node in graph.node if node.op == operation)
    weights = nodes[linear.input[1]]
    return weights, tf.make_ndarray(weights.attr["value"].tensor).copy()


def _swap_channels(graph: Any) -> None:
    node, values = _weights(graph, "Conv2D")
    node.CopyFrom(constant_node(node.name, np.ascontiguousarray(values[:, :, ::-1, :])))


def _halve_input(graph: Any) -> None:
    node, values = _weights(graph, "Conv2D")
    node.CopyFrom(constant_node(node.name, values / 255))


def _zero_weights(graph: Any) -> None:
    node, values = _weights(graph, "Conv2D")
    node.CopyFrom(constant_node(node.name, values * 0))


def _rotate_classes(graph: Any) -> None:
    node, values = _weights(graph, "MatMul")
    node.CopyFrom(constant_node(node.name, np.roll(values, 1, axis=1)))


@pytest.mark.parametrize("name", sorted(TARGETS))
def test_what_is_whole_passes(colours_copy: Any, name: str) -> None:
    row = _row(colours_copy.build, name)
    assert row.outcome == "passed", row.reason


@pytest.mark.parametrize(
    "spoil", [_swap_channels, _halve_input, _zero_weights, _rotate_classes], ids=lambda spoil: spoil.__name__[1:]
)
@pytest.mark.parametrize("name", GRAPH_FORMATS)
def test_a_spoiled_model_fails(
    colours_copy: Any, source: Source, name: str, spoil: Callable[[Any], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = type(source.graph)()
    graph.CopyFrom(source.graph)
    spoil(graph)
    monkeypatch.setattr(worker, "source_of", lambda spec, build: replace(source, graph=graph))
    _write_spoiled(colours_copy, name)
    row = _row(colours_copy.build, name)
    assert row.outcome == "failed"
    assert "agreement is" in row.reason


@pytest.mark.browser
@pytest.mark.parametrize(
    ("name", "on"),
    [
        ("tfjs-float32", "chromium-wasm"),
        ("tfjs-float32", "chromium-webgl"),
        ("tfjs-float32", "chromium-webgpu"),
        ("onnx-float32", "chromium-ort-webgpu"),
        ("tflite-int8", "chromium-litert-wasm"),
        ("tflite-float32", "chromium-litert-webgpu"),
    ],
)
def test_a_spoiled_model_fails_in_a_browser_whatever_it_computes_on(
    colours_copy: Any, source: Source, name: str, on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    graph = type(source.graph)()
    graph.CopyFrom(source.graph)
    _swap_channels(graph)
    monkeypatch.setattr(worker, "source_of", lambda spec, build: replace(source, graph=graph))
    _write_spoiled(colours_copy, name)
    row = _row(colours_copy.build, name, on)
    assert row.outcome == "failed"
    assert "agreement is" in row.reason


@pytest.mark.parametrize(
    "name", ["onnx-float32", "tflite-float32", "tflite-int8", "savedmodel", "keras", "tfjs-float32", *OTHERS]
)
def test_a_file_cut_short_fails(colours_copy: Any, name: str) -> None:
    folder = colours_copy.build / name
    file = max(folder.rglob("*"), key=lambda path: path.stat().st_size if path.name not in {"manifest.json", "export.log"} else 0)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    _sign(folder)
    row = _row(colours_copy.build, name)
    assert row.outcome == "failed"
    assert row.reason


@pytest.mark.parametrize("place", ["input", "inside", "output"])
def test_a_wrong_zero_point_fails(colours_copy: Any, place: str) -> None:
    import flatbuffers
    from tensorflow.lite.python import schema_py_generated as schema

    folder = colours_copy.build / "tflite-int8"
    labels = _labels_zip(folder / "model.tflite")
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray((folder / "model.tflite").read_bytes()), 0))
    graph = tree.subgraphs[0]
    last_but_one = graph.operators[-3].outputs[0]
    number = {"input": graph.inputs[0], "inside": last_but_one, "output": graph.outputs[0]}[place]
    quantization = graph.tensors[number].quantization
    # At the top of its range, as when int8 and uint8 are confused: what lies above zero no longer fits.
    quantization.zeroPoint = [127 if graph.tensors[number].type == schema.TensorType.INT8 else 255]
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    (folder / "model.tflite").write_bytes(bytes(builder.Output()) + labels)
    _sign(folder)
    row = _row(colours_copy.build, "tflite-int8")
    assert row.outcome == "failed"
    assert "expected" in row.reason


def test_tflite_labels_in_another_order_fail(colours_copy: Any) -> None:
    folder = colours_copy.build / "tflite-float32"
    from edgeferry.exporters.tflite.metadata import zip_of_labels

    model, old = (folder / "model.tflite").read_bytes(), _labels_zip(folder / "model.tflite")
    (folder / "model.tflite").write_bytes(model.removesuffix(old) + zip_of_labels(colours_copy.spec.labels[::-1]))
    _sign(folder)
    row = _row(colours_copy.build, "tflite-float32")
    assert row.outcome == "failed"
    assert row.reason == "the file names class 0 'cyan'; the config names it 'red'"


def test_onnx_labels_in_another_order_fail(colours_copy: Any) -> None:
    folder = colours_copy.build / "onnx-float32"
    model = onnx.load(folder / "model.onnx")
    for entry in model.metadata_props:
        if entry.key == "labels":
            entry.value = json.dumps(list(colours_copy.spec.labels[::-1]))
    onnx.save(model, folder / "model.onnx")
    _sign(folder)
    assert "the file names class 0 'cyan'" in _row(colours_copy.build, "onnx-float32").reason


def test_tfjs_labels_in_another_order_fail(colours_copy: Any) -> None:
    folder = colours_copy.build / "tfjs-float32"
    model = json.loads((folder / "model.json").read_text())
    model["userDefinedMetadata"]["labels"].reverse()
    (folder / "model.json").write_text(json.dumps(model))
    _sign(folder)
    row = _row(colours_copy.build, "tfjs-float32")
    assert row.outcome == "failed"
    assert "the file names class 0 'cyan'" in row.reason


def test_weights_zeroed_in_the_file_fail(colours_copy: Any) -> None:
    folder = colours_copy.build / "onnx-float32"
    model = onnx.load(folder / "model.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.size > 100:
            tensor.CopyFrom(numpy_helper.from_array(np.zeros_like(values), tensor.name))
    onnx.save(model, folder / "model.onnx")
    _sign(folder)
    assert _row(colours_copy.build, "onnx-float32").outcome == "failed"


def test_a_container_that_serves_another_network_fails(colours_copy: Any) -> None:
    folder = colours_copy.build / "container-float32"
    model = onnx.load(folder / "colours.onnx")
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(-values, tensor.name))
    onnx.save(model, folder / "colours.onnx")
    _sign(folder)
    row = _row(colours_copy.build, "container-float32", "endpoint")
    assert row.outcome == "failed"
    assert "agreement is" in row.reason


def test_a_container_whose_program_decodes_otherwise_fails(colours_copy: Any) -> None:
    folder = colours_copy.build / "container-float32"
    program = folder / "edgeferry" / "models" / "preprocessing.py"
    text = program.read_text()
    assert text.count("[..., ::-1]") == 1
    program.write_text(text.replace("[..., ::-1]", "[..., :]"))
    _sign(folder)
    row = _row(colours_copy.build, "container-float32", "endpoint")
    assert row.outcome == "failed"
    assert "agreement is" in row.reason


def test_a_stale_artifact_fails(colours_copy: Any) -> None:
    folder = colours_copy.build / "onnx-float32"
    write_manifest(replace(read_artifact(folder), source_sha256="0" * 64), folder)
    record_manifest(folder.parent, folder.name)
    row = _row(colours_copy.build, "onnx-float32")
    assert row.outcome == "failed"
    assert row.verdict.code == "EF-artifact-stale"


def test_a_file_that_is_not_the_manifest_s_fails(colours_copy: Any) -> None:
    file = colours_copy.build / "onnx-float32" / "model.onnx"
    file.write_bytes(file.read_bytes() + b" ")
    row = _row(colours_copy.build, "onnx-float32")
    assert row.outcome == "failed"
    assert row.verdict.code == "EF-artifact-changed"
    assert "model.onnx" in row.reason


def test_a_manifest_that_cannot_be_read_fails(colours_copy: Any) -> None:
    (colours_copy.build / "onnx-float32" / "manifest.json").write_text("{")
    row = _row(colours_copy.build, "onnx-float32")
    assert row.outcome == "failed"
    assert "cannot be read as a manifest" in row.reason


def test_a_missing_artifact_fails(colours_copy: Any) -> None:
    shutil.rmtree(colours_copy.build / "onnx-float32")
    row = _row(colours_copy.build, "onnx-float32")
    assert row.outcome == "failed"
    assert exit_status((row,)) == 1


def _labels_zip(path: Path) -> bytes:
    model = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        return model[archive.infolist()[0].header_offset :]
