# SPDX-License-Identifier: Apache-2.0
"""The inspector on what the exporters wrote, on files of Google's compiler where they are at hand, and on what is neither."""

import json
import runpy
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from edgeferry.exporters.inspect.inspection import inspect
from edgeferry.exporters.inspect.parent import _layers_differ, what_differs
from edgeferry.exporters.inspect.record import Inspection, json_of
from edgeferry.exporters.inspect.text import lines
from edgeferry.exporters.readers.tflite import Graph, Operation, Tensor
from edgeferry.models.artifact import MANIFEST, read_artifact, write_manifest
from edgeferry.models.artifact import Tensor as Declared
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of
from edgeferry.models.system.places import ROOT

REAL: Final = ROOT.parent / "shared" / "data" / "edgetpu"
STAND_IN: Final = Path(__file__).parents[1] / "edgetpu" / "package_stand_in.py"
SCHEMA: Final = json.loads((ROOT / "exporters" / "inspect" / "inspection.schema.json").read_text(encoding="utf-8"))
SMALL: Final = "mobilenet_v1_0.25_128_quant"
LARGE: Final = "mobilenet_v1_0.5_160_quant"
DEEPLAB: Final = "deeplabv3_mnv2_dm05_pascal_quant"
LSTM: Final = "keras_lstm_mnist_ptq"
PAIRS: Final = {
    f"{SMALL}_edgetpu": SMALL,
    f"{SMALL}_cocompiled_with_{LARGE}_edgetpu": SMALL,
    f"{DEEPLAB}_edgetpu": DEEPLAB,
    f"{LSTM}_edgetpu": LSTM,
    "split_concat_edgetpu": "split_concat",
}
FORMATS: Final = {
    "tflite-float32": "tflite",
    "tflite-int8": "tflite",
    "onnx-float32": "onnx",
    "coreml-float16": "coreml",
    "tfjs-float32": "tfjs",
    "tfjs-uint8": "tfjs",
}


def real(name: str) -> Path:
    if not (path := REAL / f"{name}.tflite").is_file():
        pytest.skip(f"{path.name} is not at hand: ../shared/data holds files of Google's compiler")
    return path


def states(inspection: Inspection) -> dict[str, str]:
    return {check.name: check.state for check in inspection.checks}


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., Path]:
    """Return a function that writes one of the stand-in's files."""
    functions = runpy.run_path(str(STAND_IN))

    def write(which: str, **how: Any) -> Path:
        path = tmp_path / f"{which}.tflite"
        path.write_bytes(functions[which](**how))
        return path

    return write


@pytest.mark.parametrize(("name", "kind"), FORMATS.items())
def test_an_artifact_is_read_as_its_manifest_tells(exported_digits: Any, name: str, kind: str) -> None:
    folder = exported_digits.build / name
    found, manifest = inspect(folder), read_artifact(folder)
    assert found.kind == kind
    assert not found.failed
    if kind != "coreml":
        assert (found.inputs, found.outputs) == (manifest.inputs, manifest.outputs)
    assert found.bytes == manifest.bytes
    assert sum(each.bytes for each in found.weights) > 1000


def test_the_main_file_of_an_artifact_tells_the_same(exported_digits: Any) -> None:
    for name in FORMATS:
        folder = exported_digits.build / name
        main = folder / read_artifact(folder).main_file
        assert inspect(main).operations == inspect(folder).operations


def test_the_weights_of_int8_have_a_scale_a_channel_where_they_are_convolutions(exported_digits: Any) -> None:
    found = inspect(exported_digits.build / "tflite-int8")
    stored = {(each.dtype, each.stored) for each in found.weights}
    assert {("int8", "a scale a channel"), ("int8", "a scale a tensor")} <= stored
    assert found.facts.labels == 10
    assert "TFLITE_METADATA" in found.facts.metadata


def test_labels_image_and_system_are_found_in_the_core_ml_package(exported_digits: Any) -> None:
    facts = inspect(exported_digits.build / "coreml-float16").facts
    assert (facts.classes, facts.colour_spaces, facts.system) == (10, {"image": "GRAYSCALE"}, "iOS 16")


def test_the_operator_set_and_metadata_of_onnx_are_told(exported_digits: Any) -> None:
    facts = inspect(exported_digits.build / "onnx-float32").facts
    assert facts.opsets["ai.onnx"] == 17
    assert {"labels", "preprocessing"} <= set(facts.metadata)
    assert facts.external == 0


@pytest.mark.parametrize("spoil", ["cut", "removed"])
def test_a_model_json_whose_weight_file_is_not_whole_fails(exported_digits: Any, tmp_path: Path, spoil: str) -> None:
    shutil.copytree(exported_digits.build / "tfjs-float32", tmp_path / "tfjs")
    assert states(inspect(tmp_path / "tfjs")) == {"weight files": "passed"}
    (shard,) = (tmp_path / "tfjs").glob("*.bin")
    if spoil == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        shard.unlink()
    assert states(inspect(tmp_path / "tfjs")) == {"weight files": "failed"}


@pytest.mark.parametrize("name", ["savedmodel", "keras"])
def test_what_has_no_reader_is_refused_with_what_has(exported_digits: Any, name: str) -> None:
    with pytest.raises(EdgeError, match="no reader for it: read are TF Lite"):
        inspect(exported_digits.build / name)


@pytest.mark.parametrize(("compiled", "parent"), PAIRS.items())
def test_a_compiled_file_belongs_to_its_parent(compiled: str, parent: str) -> None:
    found = inspect(real(compiled), real(parent))
    weights = "not checked" if parent == "split_concat" else "passed"
    expected = {"inputs and outputs": "passed", "CPU operations": "passed", "layers": "passed", "weights": weights}
    assert states(found) == expected
    assert what_differs(real(compiled), real(parent)) is None


@pytest.mark.parametrize("compiled", [*PAIRS, f"{LARGE}_cocompiled_with_{SMALL}_edgetpu"])
@pytest.mark.parametrize("parent", sorted(set(PAIRS.values())))
def test_a_compiled_file_belongs_to_nothing_else(compiled: str, parent: str) -> None:
    differs = what_differs(real(compiled), real(parent))
    assert (differs is None) == (PAIRS.get(compiled) == parent)


def test_the_cpu_operations_of_a_real_file_are_told_in_order() -> None:
    facts = inspect(real(f"{DEEPLAB}_edgetpu")).facts
    left = "RESIZE_BILINEAR QUANTIZE CONCATENATION CONV_2D CONV_2D RESIZE_BILINEAR RESIZE_BILINEAR ARG_MAX"
    assert facts.cpu_operations == tuple(left.split())


def test_other_weights_alone_make_a_real_parent_another(tmp_path: Path) -> None:
    whole = bytearray(real(SMALL).read_bytes())
    weights = whole.find(max(_weights_of(real(SMALL)), key=len))
    whole[weights : weights + 2000] = bytes(byte ^ 0x40 for byte in whole[weights : weights + 2000])
    (tmp_path / "other.tflite").write_bytes(whole)
    differs = what_differs(real(f"{SMALL}_edgetpu"), tmp_path / "other.tflite")
    assert differs is not None
    assert differs.startswith("weights: ")
    assert what_differs(real(f"{SMALL}_edgetpu"), tmp_path / "other.tflite", weights=False) is None


def _weights_of(path: Path) -> list[bytes]:
    from edgeferry.exporters.readers.tflite import read_graph

    return [bytes(each.inputs[1].constant) for each in read_graph(path).operations if len(each.inputs) == 3 and each.inputs[1]]


def test_a_stand_in_is_held_to_each_check(made: Callable[..., Path]) -> None:
    compiled = made("compiled")
    assert what_differs(compiled, made("parent")) is None
    assert (what_differs(compiled, made("parent", seed=1)) or "").startswith("weights: ")
    assert (what_differs(compiled, made("parent", scale=0.25)) or "").startswith("inputs and outputs: ")
    assert states(inspect(compiled, made("parent", scale=0.25)))["layers"] == "failed"


def test_operations_left_that_the_parent_lacks_fail(made: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeferry.exporters.inspect import parent as inspection_parent
    from edgeferry.exporters.readers.tflite import read_graph

    def with_more(path: Path) -> Any:
        graph = read_graph(path)
        extra = replace(graph.operations[0], name="ADD", custom=None)
        return replace(graph, operations=(*graph.operations, extra)) if path.stem == "compiled" else graph

    monkeypatch.setattr(inspection_parent, "read_graph", with_more)
    differs = what_differs(made("compiled"), made("parent"))
    assert differs == "CPU operations: ADD answers scores, the parent has none"


def test_without_a_parent_nothing_is_checked_and_said_so(made: Callable[..., Path]) -> None:
    assert states(inspect(made("compiled"))) == {"parent": "not checked"}


def test_the_parent_is_the_int8_artifact_beside_it(exported_digits: Any, made: Callable[..., Path], tmp_path: Path) -> None:
    int8 = exported_digits.build / "tflite-int8"
    (tmp_path / "digits" / "edgetpu-int8").mkdir(parents=True)
    shutil.copytree(int8, tmp_path / "digits" / "tflite-int8")
    compiled = made("compiled").rename(tmp_path / "digits" / "edgetpu-int8" / "model_edgetpu.tflite")
    assert states(inspect(compiled))["inputs and outputs"] == "failed"
    options = {"parent_sha256": sha256_of(int8 / "model.tflite")}
    write_manifest(replace(read_artifact(int8), main_file=compiled.name, options=options), compiled.parent)
    assert states(inspect(compiled.parent))["digest"] == "passed"
    write_manifest(replace(read_artifact(int8), main_file=compiled.name, options={"parent_sha256": "0" * 64}), compiled.parent)
    assert states(inspect(compiled.parent))["digest"] == "failed"


def test_a_parent_that_is_compiled_itself_is_refused(made: Callable[..., Path]) -> None:
    with pytest.raises(EdgeError, match="is compiled itself"):
        inspect(made("compiled"), made("compiled"))


def test_a_parent_of_what_is_not_compiled_is_refused(made: Callable[..., Path]) -> None:
    with pytest.raises(EdgeError, match="leave --parent out"):
        inspect(made("parent"), made("parent"))
    with pytest.raises(EdgeError, match="is not compiled for the Edge TPU"):
        what_differs(made("parent"), made("parent"))


def test_what_leaves_the_program_follows_the_published_schema(exported_digits: Any, made: Callable[..., Path]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for path in [exported_digits.build / name for name in FORMATS] + [made("compiled")]:
        jsonschema.validate(json.loads(json.dumps(json_of(inspect(path), str(path)), allow_nan=False)), SCHEMA)


def test_what_a_terminal_would_act_on_is_not_shown(made: Callable[..., Path]) -> None:
    found = inspect(made("parent"))
    hostile = replace(found, inputs=(replace(found.inputs[0], name="\x1b[2J\n" + "x" * 1000),))
    told = list(lines("file\x07", hostile))
    assert all(line.isprintable() for line in told)
    assert max(map(len, told)) < 400


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "no such file"),
        (b"", "no reader for it"),
        (b"PK\3\4 something", "is a zip archive"),
        (b"\x89HDF\r\n", "is an HDF5 file"),
        (b"{}", "cannot be read as a TensorFlow.js model"),
        (b"[" * 9, "no reader for it"),
        (b'{"a":' * 100_000, "cannot be read as a TensorFlow.js model"),
        (b"\x08\x08", "cannot be read as ONNX"),
        (b"\0\0\0\0TFL3", "is cut short or damaged"),
    ],
)
def test_what_cannot_be_read_is_one_error(tmp_path: Path, content: bytes | None, says: str) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(EdgeError, match=says):
        inspect(tmp_path / "file")


def test_a_weight_file_outside_of_the_folder_is_refused(exported_digits: Any, tmp_path: Path) -> None:
    told = json.loads((exported_digits.build / "tfjs-float32" / "model.json").read_text(encoding="utf-8"))
    told["weightsManifest"][0]["paths"] = ["../../secret"]
    (tmp_path / "model.json").write_text(json.dumps(told), encoding="utf-8")
    with pytest.raises(EdgeError, match="lies outside of its folder"):
        inspect(tmp_path)


def test_a_folder_without_an_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="is a folder; no reader for it"):
        inspect(tmp_path)
    (tmp_path / MANIFEST).write_text("{}", encoding="utf-8")
    with pytest.raises(EdgeError, match="has schema None"):
        inspect(tmp_path)


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "edgeferry", "inspect", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def test_the_command_ends_with_status_1_where_a_check_failed(made: Callable[..., Path]) -> None:
    compiled = made("compiled")
    done = command(compiled, "--parent", made("parent"))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{compiled}: TF Lite, compiled for the Edge TPU, " in done.stdout
    assert "  on chip bytes: 128\n" in done.stdout
    done = command(compiled, "--parent", made("parent", seed=1), "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["checks"][-1]["state"] == "failed"


def test_the_command_tells_a_mistake_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"nothing known")
    done = command(tmp_path / "file")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_layer_of_a_package_that_has_no_scale_is_told() -> None:
    held = Tensor("image", (1, 16), (1, 16), "int8", 1, 0, scale=0.5, zero_point=-128)
    parent = Graph((Operation("FULLY_CONNECTED", 1, (held,), (), None),), 1, (held,), 0)
    told = "image is [1, 16], the parent's int8 [1, 16] with scale 0.5 and zero point -128"
    assert _layers_differ([Declared("image", (1, 16), "uint8")], parent) == told
