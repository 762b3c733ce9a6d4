# SPDX-License-Identifier: Apache-2.0
"""inspect on exported files, on files of Google's compiler where they are available, and on what is neither."""

import json
import re
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
from edgeferry.exporters.inspect.text import lines
from edgeferry.exporters.readers.reader import readers
from edgeferry.exporters.readers.record import Inspection, json_of
from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.readers.tflite_graph import FileOperation, FileTensor, Graph
from edgeferry.models.artifact import MANIFEST, Tensor, read_artifact, write_manifest
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of
from edgeferry.models.system.places import ROOT

pytestmark = pytest.mark.slow

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
        pytest.skip(f"{path.name} is not available: ../shared/data has files of Google's compiler")
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
def test_an_artifact_is_read_as_its_manifest_declares(exported_digits: Any, name: str, kind: str) -> None:
    folder = exported_digits.build / name
    found, manifest = inspect(folder), read_artifact(folder)
    assert found.kind == kind
    assert not found.failed
    if kind != "coreml":
        assert (found.inputs, found.outputs) == (manifest.inputs, manifest.outputs)
    assert found.bytes == manifest.bytes
    assert sum(each.bytes for each in found.weights) > 1000


def test_the_main_file_of_an_artifact_has_the_same_operations(exported_digits: Any) -> None:
    for name in FORMATS:
        folder = exported_digits.build / name
        main = folder / read_artifact(folder).main_file
        assert inspect(main).operations == inspect(folder).operations


def test_the_int8_weights_are_per_channel_where_they_are_convolutions(exported_digits: Any) -> None:
    found = inspect(exported_digits.build / "tflite-int8")
    stored = {(each.dtype, each.stored) for each in found.weights}
    assert {("int8", "per-channel"), ("int8", "per-tensor")} <= stored
    assert found.facts.labels == 10
    assert "TFLITE_METADATA" in found.facts.metadata


def test_labels_image_and_system_are_found_in_the_core_ml_package(exported_digits: Any) -> None:
    facts = inspect(exported_digits.build / "coreml-float16").facts
    assert (facts.classes, facts.colour_spaces, facts.system) == (10, {"image": "GRAYSCALE"}, "iOS 16")


def test_the_operator_set_and_metadata_of_onnx_are_read(exported_digits: Any) -> None:
    facts = inspect(exported_digits.build / "onnx-float32").facts
    assert facts.opsets["ai.onnx"] == 17
    assert {"labels", "preprocessing"} <= set(facts.metadata)
    assert facts.external == 0


@pytest.mark.parametrize("spoil", ["cut", "removed"])
def test_a_model_json_whose_weight_file_is_incomplete_fails(exported_digits: Any, tmp_path: Path, spoil: str) -> None:
    shutil.copytree(exported_digits.build / "tfjs-float32", tmp_path / "tfjs")
    assert states(inspect(tmp_path / "tfjs")) == {"weight files": "passed"}
    (shard,) = (tmp_path / "tfjs").glob("*.bin")
    if spoil == "cut":
        shard.write_bytes(shard.read_bytes()[:-1])
    else:
        shard.unlink()
    assert states(inspect(tmp_path / "tfjs")) == {"weight files": "failed"}


@pytest.mark.parametrize("name", FORMATS)
def test_each_main_file_matches_one_reader(exported_digits: Any, name: str) -> None:
    folder = exported_digits.build / name
    file = folder / read_artifact(folder).main_file
    assert [reader.kind for reader in readers().values() if reader.matches(file)] == [FORMATS[name]]


@pytest.mark.parametrize("name", ["savedmodel", "keras"])
def test_an_artifact_without_a_reader_is_described_by_its_manifest(exported_digits: Any, name: str) -> None:
    folder = exported_digits.build / name
    found, artifact = inspect(folder), read_artifact(folder)
    assert (found.kind, found.bytes, found.inputs, found.outputs) == (
        artifact.kind, artifact.bytes, artifact.inputs, artifact.outputs
    )  # fmt: skip
    assert (found.operations, found.weights) == (None, None)
    assert found.facts.files == {name: facts["bytes"] for name, facts in artifact.files.items()}
    assert (found.facts.labels, found.facts.tolerance["reason"]) == (10, artifact.tolerance.reason)
    assert states(found) == {"files": "passed"}
    jsonschema.validate(json.loads(json.dumps(json_of(found, name), allow_nan=False)), SCHEMA)


@pytest.mark.parametrize("name", ["savedmodel/saved_model.pb", "keras/model.keras"])
def test_a_file_without_a_reader_is_refused(exported_digits: Any, name: str) -> None:
    with pytest.raises(EdgeError, match="TF Lite compiled for the Edge TPU", check=lambda e: e.code == "EF-file-kind"):
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


def test_the_cpu_operations_of_a_real_file_are_listed_in_order() -> None:
    facts = inspect(real(f"{DEEPLAB}_edgetpu")).facts
    left = "RESIZE_BILINEAR QUANTIZE CONCATENATION CONV_2D CONV_2D RESIZE_BILINEAR RESIZE_BILINEAR ARG_MAX"
    assert facts.cpu_operations == tuple(left.split())


def test_a_parent_that_differs_in_its_weights_alone_fails(tmp_path: Path) -> None:
    whole = bytearray(real(SMALL).read_bytes())
    weights = whole.find(max(_weights_of(real(SMALL)), key=len))
    whole[weights : weights + 2000] = bytes(byte ^ 0x40 for byte in whole[weights : weights + 2000])
    (tmp_path / "other.tflite").write_bytes(whole)
    differs = what_differs(real(f"{SMALL}_edgetpu"), tmp_path / "other.tflite")
    assert differs is not None
    assert differs.name == "weights"
    assert what_differs(real(f"{SMALL}_edgetpu"), tmp_path / "other.tflite", weights=False) is None


def _weights_of(path: Path) -> list[bytes]:
    return [bytes(each.inputs[1].constant) for each in read_graph(path).operations if len(each.inputs) == 3 and each.inputs[1]]


def test_each_check_fails_on_a_stand_in_that_it_concerns(made: Callable[..., Path]) -> None:
    compiled = made("compiled")
    assert what_differs(compiled, made("parent")) is None
    assert getattr(what_differs(compiled, made("parent", seed=1)), "name", None) == "weights"
    assert getattr(what_differs(compiled, made("parent", scale=0.25)), "name", None) == "inputs and outputs"
    assert states(inspect(compiled, made("parent", scale=0.25)))["layers"] == "failed"


def test_operations_left_that_the_parent_lacks_fail(made: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeferry.exporters.inspect import parent as inspection_parent

    def with_more(path: Path) -> Any:
        graph = read_graph(path)
        extra = replace(graph.operations[0], name="ADD", custom=None)
        return replace(graph, operations=(*graph.operations, extra)) if path.stem == "compiled" else graph

    monkeypatch.setattr(inspection_parent, "read_graph", with_more)
    differs = what_differs(made("compiled"), made("parent"))
    assert differs is not None
    assert differs.name == "CPU operations"
    assert "ADD computes scores" in differs.reason


def test_without_a_parent_the_result_is_not_checked(made: Callable[..., Path]) -> None:
    assert states(inspect(made("compiled"))) == {"parent": "not checked"}


def test_the_parent_is_the_int8_artifact_next_to_it(exported_digits: Any, made: Callable[..., Path], tmp_path: Path) -> None:
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
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-edgetpu-parent-compiled"):
        inspect(made("compiled"), made("compiled"))


def test_a_parent_of_what_is_not_compiled_is_refused(made: Callable[..., Path]) -> None:
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-parent-unexpected"):
        inspect(made("parent"), made("parent"))
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-edgetpu-not-compiled"):
        what_differs(made("parent"), made("parent"))


def test_what_leaves_the_program_follows_the_published_schema(exported_digits: Any, made: Callable[..., Path]) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    for path in [exported_digits.build / name for name in FORMATS] + [made("compiled")]:
        jsonschema.validate(json.loads(json.dumps(json_of(inspect(path), str(path)), allow_nan=False)), SCHEMA)


def test_what_a_terminal_would_act_on_is_not_shown(made: Callable[..., Path]) -> None:
    found = inspect(made("parent"))
    hostile = replace(found, inputs=(replace(found.inputs[0], name="\x1b[2J\n" + "x" * 1000),))
    text = list(lines("file\x07", hostile))
    assert all(line.isprintable() for line in text)
    assert max(map(len, text)) < 400


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "EF-file-missing"),
        (b"", "EF-file-kind"),
        (b"[" * 9, "EF-file-kind"),
        (b"{}", "EF-file-damaged"),
        (b'{"a":' * 100_000, "EF-file-damaged"),
        (b"\x08\x08", "EF-file-damaged"),
        (b"\0\0\0\0TFL3", "EF-file-damaged"),
    ],
)
def test_what_cannot_be_read_is_one_error(tmp_path: Path, content: bytes | None, code: str) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    with pytest.raises(EdgeError, check=lambda error: error.code == code):
        inspect(tmp_path / "file")


@pytest.mark.parametrize(("content", "kind"), [(b"PK\3\4 something", "a zip archive"), (b"\x89HDF\r\n", "an HDF5 file")])
def test_a_common_file_of_another_kind_is_named(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(EdgeError, match=f"is {kind}", check=lambda e: e.code == "EF-file-kind"):
        inspect(tmp_path / "file")


def test_a_weight_file_outside_of_the_folder_is_refused(exported_digits: Any, tmp_path: Path) -> None:
    model = json.loads((exported_digits.build / "tfjs-float32" / "model.json").read_text(encoding="utf-8"))
    model["weightsManifest"][0]["paths"] = ["../../secret"]
    (tmp_path / "model.json").write_text(json.dumps(model), encoding="utf-8")
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-path-outside"):
        inspect(tmp_path)


def test_a_folder_without_an_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, check=lambda e: e.code == "EF-file-kind"):
        inspect(tmp_path)
    (tmp_path / MANIFEST).write_text("{}", encoding="utf-8")
    with pytest.raises(EdgeError, match=re.escape(str(tmp_path / MANIFEST))):
        inspect(tmp_path)


def command(*words: str | Path) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "edgeferry", "inspect", *map(str, words)]
    return subprocess.run(line, capture_output=True, text=True, timeout=60, check=False, cwd=ROOT)


def test_the_command_ends_with_status_1_where_a_check_failed(made: Callable[..., Path]) -> None:
    compiled = made("compiled")
    done = command(compiled, "--parent", made("parent"))
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{compiled}: TF Lite compiled for the Edge TPU, " in done.stdout
    assert "  on chip bytes: 128\n" in done.stdout
    done = command(compiled, "--parent", made("parent", seed=1), "--json")
    assert (done.returncode, done.stderr) == (1, "")
    assert json.loads(done.stdout)["checks"][-1]["state"] == "failed"


def test_the_command_reports_a_mistake_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"nothing known")
    done = command(tmp_path / "file")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_layer_without_a_scale_is_named() -> None:
    tensor = FileTensor("image", (1, 16), (1, 16), "int8", 1, 0, scale=0.5, zero_point=-128)
    parent = Graph((FileOperation("FULLY_CONNECTED", 1, (tensor,), (), None),), 1, (tensor,), 0)
    text = "image is [1, 16], the parent's int8 [1, 16] with scale 0.5 and zero point -128"
    assert _layers_differ([Tensor("image", (1, 16), "uint8")], parent) == text
