# SPDX-License-Identifier: Apache-2.0
"""The weights of real files: each is found to be the model's, and what is spoiled in a file is found."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import flatbuffers
import numpy as np
import pytest

from edgeferry.benchmarks.parity.judging.provenance.check import check_weights
from edgeferry.benchmarks.parity.judging.provenance.kept import known_checks, with_weights
from edgeferry.benchmarks.parity.judging.provenance.weight_check import WeightCheck
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.exporters.export import export_all
from edgeferry.exporters.readers.reader import reader_of
from edgeferry.exporters.readers.tflite_schema import tflite_schema
from edgeferry.exporters.weights.constants import ARRAYS, WEIGHTS
from edgeferry.models.artifact import EXPORTS, read_artifact
from edgeferry.models.system.files import files_below, sha256_of

RNG: Final = np.random.default_rng(5)
FLOATS: Final = {
    "tflite-float32": np.float32,
    "tflite-float16": np.float16,
    "onnx-float32": np.float32,
    "onnx-float16": np.float16,
    "coreml-float32": np.float32,
    "coreml-float16": np.float16,
    "tfjs-float32": np.float32,
    "tfjs-float16": np.float16,
}


@pytest.fixture
def copied(exported_colours: Any, tmp_path: Path) -> Callable[[str], Path]:
    """Return a function that copies one format of the colour classifier, and the model's constants, to a build folder."""

    def copy(name: str) -> Path:
        if not (exported_colours.build / name).is_dir():
            pytest.skip(f"{name} cannot be written here")
        for each in (name, WEIGHTS):
            shutil.copytree(exported_colours.build / each, tmp_path / each)
        return tmp_path

    return copy


def checked(build: Path, name: str) -> WeightCheck:
    return check_weights(build, read_artifact(build / name))


@pytest.mark.parametrize("model", ["exported_colours", "exported_digits"])
def test_the_weights_of_every_file_are_the_model_s(model: str, request: pytest.FixtureRequest) -> None:
    build = request.getfixturevalue(model).build
    results = {manifest.parent.name: checked(build, manifest.parent.name) for manifest in build.glob("*/manifest.json")}
    read = {name: found for name, found in results.items() if found.not_checked is None}
    assert set(read) >= {name for name in results if name.startswith(("tflite", "onnx", "container", "coreml", "tfjs"))}
    assert {name: found.summary for name, found in read.items() if found.failed or found.unexplained} == {}
    assert all(found.matched >= 6 for found in read.values())


@pytest.mark.parametrize("name", FLOATS)
def test_noise_of_one_percent_in_one_layer_is_found(copied: Callable[[str], Path], name: str) -> None:
    build = copied(name)
    path = build / name / read_artifact(build / name).main_file
    reader = reader_of(path)
    assert reader is not None
    assert reader.weights is not None
    weight = max((each for each in reader.weights(path) if each.role == "weight"), key=lambda each: each.values.size)
    old = weight.values.astype(FLOATS[name])
    new = (old + RNG.normal(0, 0.01 * old.std(), old.shape)).astype(old.dtype)
    held = [file for file in files_below(build / name) if old.tobytes() in file.read_bytes()]
    for file in held:
        file.write_bytes(file.read_bytes().replace(old.tobytes(), new.tobytes()))
    assert len(held) == 1
    assert checked(build, name).altered[0].startswith("layer conv2d_1: ")


def _scale_doubled(weights: Any, _: Any, __: Any) -> None:
    weights.quantization.scale[1] *= 2


def _scales_shifted(weights: Any, _: Any, __: Any) -> None:
    weights.quantization.scale = np.roll(weights.quantization.scale, 1)


def _zero_points_moved(weights: Any, _: Any, __: Any) -> None:
    weights.quantization.zeroPoint = np.ones(len(weights.quantization.scale), np.int64)


def _one_element_changed(_: Any, numbers: Any, __: Any) -> None:
    numbers.reshape(-1)[3] += 2 if numbers.reshape(-1)[3] < 0 else -2


def _channels_exchanged(_: Any, numbers: Any, __: Any) -> None:
    numbers[[0, 1]] = numbers[[1, 0]]


def _noise(_: Any, numbers: Any, __: Any) -> None:
    numbers[...] = np.clip(np.round(numbers * RNG.normal(1, 0.03, numbers.shape)), -127, 127)


def _bias_zeroed(_: Any, __: Any, bias: Any) -> None:
    bias[...] = 0


@pytest.mark.parametrize("name", ["tflite-int8", "tflite-dynamic"])
@pytest.mark.parametrize(
    "spoil",
    [_scale_doubled, _scales_shifted, _zero_points_moved, _one_element_changed, _channels_exchanged, _noise, _bias_zeroed],
    ids=lambda spoil: spoil.__name__[1:],
)
def test_a_spoiled_layer_is_found(copied: Callable[[str], Path], name: str, spoil: Callable[..., None]) -> None:
    build = copied(name)
    _spoil_tflite(build / name / "model.tflite", spoil)
    found = checked(build, name)
    assert found.failed
    assert "layer conv2d_1" in found.summary


def _spoil_tflite(path: Path, spoil: Callable[..., None]) -> None:
    """Spoil the second convolution of a file: its weights' tensor, their integers, and its bias."""
    schema = tflite_schema()
    tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(path.read_bytes()), 0))
    graph, codes = tree.subgraphs[0], tree.operatorCodes
    convolutions = [each for each in graph.operators if codes[each.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D]
    weights, bias = (graph.tensors[at] for at in convolutions[1].inputs[1:3])
    numbers = [np.frombuffer(bytes(tree.buffers[each.buffer].data), dtype).copy() for each, dtype in _typed(weights, bias)]
    spoil(weights, numbers[0].reshape(weights.shape), numbers[1])
    for each, values in zip((weights, bias), numbers, strict=True):
        tree.buffers[each.buffer].data = np.frombuffer(values.tobytes(), np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(tree.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))


def _typed(*tensors: Any) -> list[tuple[Any, Any]]:
    kinds = tflite_schema().TensorType
    return [(each, {kinds.INT8: np.int8, kinds.INT32: np.int32, kinds.FLOAT32: np.float32}[each.type]) for each in tensors]


def test_a_file_that_no_reader_reads_weights_of_is_not_checked(copied: Callable[[str], Path]) -> None:
    found = checked(copied("savedmodel"), "savedmodel")
    assert not found.failed
    assert found.summary.startswith("weights not checked: ")


def test_a_file_cut_short_is_not_checked(copied: Callable[[str], Path]) -> None:
    build = copied("tfjs-float32")
    shard = next((build / "tfjs-float32").glob("*.bin"))
    shard.write_bytes(shard.read_bytes()[:100])
    assert checked(build, "tfjs-float32").not_checked is not None


def test_without_the_model_s_constants_nothing_is_checked(copied: Callable[[str], Path]) -> None:
    build = copied("tflite-int8")
    (build / WEIGHTS / ARRAYS).write_bytes(b"")
    assert checked(build, "tflite-int8").not_checked is not None


def test_a_result_is_kept_until_the_file_changes(copied: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    build = copied("tflite-int8")
    artifact = read_artifact(build / "tflite-int8")
    first = known_checks(build, {"tflite-int8": artifact}, sha256_of, reuse=True)
    monkeypatch.setattr("edgeferry.benchmarks.parity.judging.provenance.check.check_weights", lambda *_: WeightCheck(0))
    assert known_checks(build, {"tflite-int8": artifact}, sha256_of, reuse=True) == first
    assert known_checks(build, {"tflite-int8": artifact}, sha256_of, reuse=False) == {"tflite-int8": WeightCheck(0)}


def test_altered_weights_fail_every_row() -> None:
    rows = [
        Row("tflite-int8", "litert", Verdict("passed", "within")),
        Row("tflite-int8", "tflite-2.5", Verdict("not run", "absent")),
    ]
    failed = with_weights(rows, WeightCheck(5, altered=("layer conv2d: 3 of 9 weights differ",)))
    assert [row.outcome for row in failed] == ["failed", "failed"]
    assert all("layer conv2d: 3 of 9 weights differ" in row.reason for row in failed)


def test_unexplained_weights_leave_a_row_passed_and_are_counted() -> None:
    row = with_weights([Row("coreml-float16", "mac", Verdict("passed", "within"))], WeightCheck(5, unexplained=("a",)))[0]
    assert row.outcome == "passed"
    assert row.reason == "within; 5 of 6 weight tensors are the model's; 1 unexplained"


def test_constants_that_are_absent_are_written_again_alone(exported_colours: Any, tmp_path: Path) -> None:
    build = tmp_path / "colours"
    names = ("onnx-float32",)
    for each in (*names, "reference"):
        shutil.copytree(exported_colours.build / each, build / each)
    shutil.copy(exported_colours.build / EXPORTS, build)
    exports = export_all(exported_colours.spec, build, names, lambda *_: None)
    assert [each.state for each in exports] == ["kept"]
    assert checked(build, "onnx-float32").matched >= 6
    written = (build / WEIGHTS / ARRAYS).stat().st_mtime_ns
    export_all(exported_colours.spec, build, names, lambda *_: None)
    assert (build / WEIGHTS / ARRAYS).stat().st_mtime_ns == written
