# SPDX-License-Identifier: Apache-2.0
"""lint on files that TensorFlow converted; where a runtime can contradict it, that runtime runs the file."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.exporters.edgetpu import formats as edgetpu
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.lint.edgetpu import edgetpu_findings
from edgeferry.exporters.lint.lint import lines, lint
from edgeferry.exporters.lint.runtimes import FOLDER, runtime_names, support_of
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.readers.tflite_graph import layer_of
from edgeferry.exporters.tflite import formats as tflite
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.boards.tflite_runtime import TARGETS

CASES: Final = (
    "plain", "per_channel", "grouped", "gelu", "elu", "hard_swish", "open_batch", "open_flatten", "conv3d"
)  # fmt: skip
# Run by an old runtime's Python: whether its output differs between images.
RUN: Final = """\
import sys
import numpy as np
from tflite_runtime.interpreter import Interpreter
interpreter = Interpreter(sys.argv[1])
interpreter.allocate_tensors()
takes, gives = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
outputs = []
for seed in range(8):
    image = np.random.RandomState(seed).randint(-128, 128, takes["shape"]) * (seed + 1) // 8
    interpreter.set_tensor(takes["index"], image.astype(takes["dtype"]))
    interpreter.invoke()
    outputs.append(interpreter.get_tensor(gives["index"]).copy())
print("constant" if all((each == outputs[0]).all() for each in outputs) else "varies")
"""


def _network(case: str) -> Any:
    import keras
    from keras import layers

    keras.utils.set_random_seed(1)
    middle = {
        "grouped": [layers.Conv2D(8, 3, groups=2, name="in_groups")],
        "gelu": [layers.Activation("gelu", name="curve")],
        "elu": [layers.ELU(name="curve")],
        "hard_swish": [layers.Activation("hard_swish", name="curve")],
    }
    if case == "conv3d":
        body = [keras.Input((4, 8, 8, 2)), layers.Conv3D(4, 3), layers.GlobalAveragePooling3D(), layers.Dense(4)]
        return keras.Sequential(body)
    pool = layers.Flatten(name="flat") if case == "open_flatten" else layers.GlobalAveragePooling2D()
    first = [keras.Input((8, 8, 4)), layers.Conv2D(8, 3, activation="relu", name="first")]
    return keras.Sequential([*first, *middle.get(case, []), pool, layers.Dense(4, name="scores", kernel_initializer="normal")])


def _converted(case: str) -> bytes:
    import tensorflow as tf

    model, rng = _network(case), np.random.default_rng(0)
    shape = (1, *model.input_shape[1:])
    if case.startswith("open_"):
        converter = tf.lite.TFLiteConverter.from_keras_model(model)
    else:
        predict = tf.function(lambda image: model(image, training=False), input_signature=[tf.TensorSpec(shape)])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([predict.get_concrete_function()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([rng.normal(size=shape).astype(np.float32)] for _ in range(8))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    converter._experimental_disable_per_channel_quantization_for_dense_layers = case != "per_channel"
    written: bytes = converter.convert()
    return written


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return a function that returns the file of a case, converted once."""
    folder = tmp_path_factory.mktemp("converted")

    def path(case: str) -> Path:
        file: Path = folder / f"{case}.tflite"
        if not file.exists():
            file.write_bytes(_converted(case))
        return file

    return path


def rules(path: Path, name: str) -> list[tuple[str, str, str]]:
    return [(finding.severity, finding.rule, finding.operation) for finding in lint(path, name).findings]


@pytest.mark.parametrize("name", runtime_names())
def test_the_int8_artifact_has_no_findings(exported_digits: Any, name: str) -> None:
    report = lint(exported_digits.build / "tflite-int8" / "model.tflite", name)
    assert report.findings == ()
    assert report.forecast is None or report.forecast.cpu == 0


@pytest.mark.parametrize("name", ["tflite-2.5", "tflite-2.7"])
def test_a_per_channel_dense_layer_is_an_error_before_2_10(converted: Any, name: str) -> None:
    (finding,) = lint(converted("per_channel"), name).findings
    assert (finding.severity, finding.rule) == ("error", "per-channel-dense")
    assert "per-channel" in finding.found


def test_it_is_no_finding_later_and_a_warning_on_the_edge_tpu(converted: Any) -> None:
    assert rules(converted("per_channel"), "tflite-2.10") == rules(converted("per_channel"), "tflite-2.14") == []
    assert rules(converted("per_channel"), "litert-2.3") == []
    assert rules(converted("per_channel"), "edgetpu") == [("warning", "per-channel-dense", "FULLY_CONNECTED")]


@pytest.mark.parametrize("name", ["tflite-2.5", "tflite-2.7", "edgetpu"])
def test_a_grouped_convolution_is_one_error_and_its_neighbours_have_none(converted: Any, name: str) -> None:
    assert rules(converted("grouped"), name) == [("error", "grouped-convolution", "CONV_2D")]


@pytest.mark.parametrize("name", ["tflite-2.5", "tflite-2.7", "edgetpu"])
def test_gelu_is_newer_than_the_runtime_and_named_by_its_layer(converted: Any, name: str) -> None:
    (finding,) = lint(converted("gelu"), name).errors
    assert (finding.rule, finding.operation, finding.layer) == ("op-version", "GELU", "curve_1")
    assert "has none" in finding.found


def test_elu_stays_in_float_and_cuts_the_graph(converted: Any) -> None:
    report = lint(converted("elu"), "edgetpu")
    (finding,) = report.findings
    assert (finding.severity, finding.rule, finding.operation, finding.layer) == ("warning", "float-tensors", "ELU", "curve_1")
    assert finding.found.endswith("so are the 4 operations after it (forecast)")
    assert report.forecast is not None
    assert (report.forecast.mapped, report.forecast.cpu) == (1, 5)


def test_an_operation_that_the_edge_tpu_lacks_leaves_all_after_it_to_the_cpu(converted: Any) -> None:
    report = lint(converted("hard_swish"), "edgetpu")
    (finding,) = report.findings
    assert (finding.severity, finding.rule, finding.operation) == ("warning", "not-on-edgetpu", "HARD_SWISH")
    assert report.forecast is not None
    assert (report.forecast.mapped, report.forecast.cpu) == (1, 3)


def test_a_dynamic_batch_alone_has_no_finding(converted: Any) -> None:
    graph = read_graph(converted("open_batch"))
    assert any(-1 in tensor.signature for operation in graph.operations for tensor in operation.tensors)
    assert rules(converted("open_batch"), "edgetpu") == []


def test_sizes_computed_while_the_model_runs_are_an_error(converted: Any) -> None:
    (finding,) = lint(converted("open_flatten"), "edgetpu").errors
    assert (finding.rule, finding.operation, finding.layer) == ("dynamic-shape", "SHAPE", "flat_1")


def test_more_than_three_dimensions_stay_on_the_cpu(converted: Any) -> None:
    found = rules(converted("conv3d"), "edgetpu")
    assert found[0] == ("error", "nothing-mapped", "model")
    assert ("warning", "rank", "MEAN") in found


def test_a_float_file_is_one_error_on_the_edge_tpu(exported_digits: Any) -> None:
    assert rules(exported_digits.build / "tflite-float32" / "model.tflite", "edgetpu") == [("error", "float-tensors", "model")]


def test_a_resize_may_not_map(exported_digits: Any) -> None:
    graph = read_graph(exported_digits.build / "tflite-int8" / "model.tflite")
    resize = replace(graph.operations[5], name="RESIZE_BILINEAR")
    found = edgetpu_findings(
        replace(graph, operations=(*graph.operations[:5], resize, *graph.operations[6:])), support_of("edgetpu")
    )
    assert [(finding.severity, finding.rule) for finding in found] == [("possible", "may-not-map")]


def test_parameters_beyond_the_cache_are_forecast(exported_digits: Any) -> None:
    graph = read_graph(exported_digits.build / "tflite-int8" / "model.tflite")
    dense = next(each for each in graph.operations if each.name == "FULLY_CONNECTED")
    image, weights, bias = dense.inputs
    assert image is not None
    assert weights is not None
    large = replace(dense, inputs=(image, replace(weights, shape=(4096, 4096)), bias))
    operations = tuple(large if each is dense else each for each in graph.operations)
    (finding,) = edgetpu_findings(replace(graph, operations=operations), support_of("edgetpu"))
    assert (finding.rule, finding.severity) == ("cache", "possible")
    assert "16.0 MiB are sent for every image" in finding.found


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("name", ["tflite-2.5", "tflite-2.7"])
def test_the_old_runtime_itself_agrees(converted: Any, name: str, case: str) -> None:
    python = ROOT / f".venv-{name}" / "bin" / "python"
    if why := next(target for target in TARGETS if target.name == name).missing():
        pytest.skip(why)
    path = converted(case)
    done = subprocess.run([python, "-c", RUN, path], capture_output=True, text=True, timeout=60, check=False)
    works = done.stdout.strip() == "varies"
    assert works == (not lint(path, name).errors), done.stdout + done.stderr


@pytest.mark.parametrize("case", ["grouped", "open_flatten", "gelu"])
def test_the_compiler_is_not_called_for_what_cannot_run(
    case: str, converted: Any, digits_source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tflite-int8").mkdir()
    (tmp_path / "tflite-int8" / "model.tflite").write_bytes(converted(case).read_bytes())
    (tmp_path / "edgetpu-int8").mkdir()
    monkeypatch.setattr(edgetpu, "compile_files", lambda *_: pytest.fail("the compiler was called"))
    with pytest.raises(EdgeError, match=r"(CONV_2D|SHAPE|GELU) ", check=lambda e: e.code == "EF-edgetpu-lint"):
        edgetpu.compile_(digits_source, tmp_path / "edgetpu-int8")


def test_what_boards_compute_wrongly_is_a_note_of_the_int8_artifact(digits_source: Source, tmp_path: Path) -> None:
    (note,) = tflite.int8(digits_source, tmp_path, tflite.Int8Options(dense="per-channel")).notes
    assert note.startswith("for tflite-runtime 2.5.0.post1: FULLY_CONNECTED probabilities_1: ")
    assert tflite.int8(digits_source, tmp_path).notes == ()


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    words = tuple(map(str, words))
    return subprocess.run(
        [sys.executable, "-m", "edgeferry", "lint", *words], capture_output=True, text=True, timeout=60, check=False
    )


def test_the_command_prints_one_line_per_finding_and_a_summary(converted: Any, exported_digits: Any) -> None:
    path = converted("gelu")
    done = command(path, "--for", "tflite-2.5")
    assert (done.returncode, done.stderr) == (1, "")
    finding, summary = done.stdout.splitlines()
    assert finding.startswith(f"{path}: error: GELU (curve_1): op-version: ")
    assert summary.endswith(": 1 error, 0 warnings, 0 possible issues")
    done = command(exported_digits.build / "tflite-int8" / "model.tflite", "--for", "edgetpu")
    assert (done.returncode, done.stderr) == (0, "")
    assert "forecast: 16 of 16 operations on the Edge TPU, 0 on the CPU" in done.stdout


@pytest.mark.parametrize(
    ("content", "code"), [(None, "EF-file-missing"), (b"PK\3\4 something else", "EF-file-kind"), (b"", "EF-file-kind")]
)
def test_what_cannot_be_read_is_one_line_and_status_2(tmp_path: Path, content: bytes | None, code: str) -> None:
    path = tmp_path / "model.tflite"
    if content is not None:
        path.write_bytes(content)
    done = command(path, "--for", "edgetpu")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert f"[{code}]" in done.stderr


def test_an_unknown_runtime_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="edgetpu, litert-2.3, tflite-2.10, tflite-2.14, tflite-2.5, tflite-2.7"):
        lint(tmp_path / "model.tflite", "tflite-1.0")


def test_a_truncated_file_is_refused(converted: Any, tmp_path: Path) -> None:
    whole = converted("plain").read_bytes()
    for part in (9, 40, len(whole) // 4, len(whole) // 2, len(whole) * 3 // 4):
        (tmp_path / "cut.tflite").write_bytes(whole[:part])
        with pytest.raises(EdgeError, check=lambda e: e.code == "EF-file-damaged"):
            lint(tmp_path / "cut.tflite", "edgetpu")


def test_no_damage_ends_in_anything_but_a_report_or_one_error(converted: Any, tmp_path: Path) -> None:
    whole, chance = converted("grouped").read_bytes(), random.Random(5)  # noqa: S311 - no secret
    path, refused = tmp_path / "damaged.tflite", 0
    for _ in range(600):
        damaged = bytearray(whole[: chance.choice([len(whole), chance.randrange(8, len(whole))])])
        for _ in range(chance.choice([1, 3, 30])):
            damaged[chance.randrange(8, max(9, len(damaged))) % len(damaged)] ^= 1 << chance.randrange(8)
        damaged[4:8] = b"TFL3"
        path.write_bytes(damaged)
        try:
            assert list(lines(path, lint(path, chance.choice(runtime_names()))))
        except EdgeError:
            refused += 1
    assert 0 < refused < 600


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        ("digits_1/conv2d_1/Relu;digits_1/conv2d_1/BiasAdd", "conv2d_1"),
        ("StatefulPartitionedCall/net/dense_1/MatMul", "dense_1"),
        ("net/curve_1/Gelu/mul_2", "curve_1"),
        ("net/batch_normalization_1/batchnorm/add_1;net/conv2d_1/BiasAdd", "batch_normalization_1"),
        ("MobilenetV1/MobilenetV1/Conv2d_0/Relu6", "Conv2d_0"),
        ("tfl.quantize", "tfl.quantize"),
        ("", ""),
    ],
)
def test_the_layer_is_read_from_the_tensors_name(tensor: str, layer: str) -> None:
    assert layer_of(tensor) == layer


def test_weights_name_the_layer_where_the_output_has_the_next_ones_name(converted: Any) -> None:
    convolution = read_graph(converted("plain")).operations[0]
    image, weights, bias = convolution.inputs
    (output,) = convolution.outputs
    assert weights is not None
    renamed = replace(output, name="net/re_lu_1/Relu;net/batch_normalization_1/batchnorm/add_1")
    folded = replace(convolution, outputs=(renamed,))
    assert folded.layer == "first_1"
    lost = replace(folded, inputs=(image, replace(weights, name="convolution"), bias))
    assert lost.layer == "re_lu_1"


def test_a_grouped_convolution_without_its_name_is_located_by_the_one_before(converted: Any) -> None:
    (finding,) = lint(converted("grouped"), "tflite-2.5").findings
    assert "it follows first_1" in finding.found


def test_there_is_no_forecast_for_what_the_compiler_rejects(converted: Any) -> None:
    path = converted("grouped")
    report = lint(path, "edgetpu")
    assert report.forecast is None
    assert "; no forecast: " in list(lines(path, report))[-1]


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_table_is_whole(path: Path) -> None:
    from tensorflow.lite.python import schema_py_generated as schema

    facts, known = json.loads(path.read_text(encoding="utf-8")), vars(schema.BuiltinOperator)
    assert facts["schema"] == 1
    assert facts["source"]
    where = support_of(path.stem)
    assert len(where.highest) > 100
    assert all(name in known and 1 <= version < 32 for name, version in where.highest.items())
    assert set(where.mapped) <= set(where.highest)
    assert where.unconfirmed <= set(where.mapped)
    assert all(about["status"] in {"public", "seen", "unconfirmed"} for about in facts.get("operations", {}).values())


def test_versions_never_fall_from_one_runtime_to_the_next() -> None:
    tables = [support_of(name).highest for name in ("tflite-2.5", "tflite-2.7", "tflite-2.10", "tflite-2.14", "litert-2.3")]
    for old, new in pairwise(tables):
        assert {name for name, version in old.items() if new.get(name, 0) < version} == set()
