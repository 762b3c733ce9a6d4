# SPDX-License-Identifier: Apache-2.0
"""Core ML packages of two trained classifiers, undamaged and spoiled in every known way."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from one_artifact import leave_only

from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.models.artifact import files_of, read_artifact, write_manifest
from edgeferry.models.coreml_messages import messages
from edgeferry.models.exports import record_manifest
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.mil.package import open_package
from edgeferry.targets.mil.program import labels_of, read_program
from edgeferry.targets.target import Job, Run, Unsupported, choose, targets

FORMAT: Final = "coreml-float16"
TARGET: Final = "coreml-reference"
MODEL: Final = "Data/com.apple.CoreML/model.mlmodel"
WEIGHTS: Final = "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture
def copy(exported_colours: Any, tmp_path: Path) -> Path:
    """Return this test's own build folder with the colour classifier's package."""
    if why := targets()[TARGET].missing():
        pytest.skip(why)
    build = tmp_path / "colours"
    shutil.copytree(exported_colours.build, build)
    return build


def _package(build: Path) -> Path:
    return build / FORMAT / "model.mlpackage"


def _row(build: Path) -> Row:
    leave_only(FORMAT, build)
    (row,) = run_all(open_bench(build, choose((TARGET,)), lambda *_: None, reuse=False))
    return row


def _sign(build: Path) -> None:
    """Update the manifest, as a build that wrote wrong files would."""
    folder = build / FORMAT
    write_manifest(replace(read_artifact(folder), files=files_of(folder)), folder)
    record_manifest(build, FORMAT)


def _edit(build: Path, change: Callable[[Any, Any], None]) -> None:
    """Change a package's specification; ``change`` takes it and its operations."""
    package = open_package(_package(build))
    change(package.specification, package.block.operations)
    (_package(build) / MODEL).write_bytes(package.specification.SerializeToString())
    _sign(build)


def _job(build: Path, tmp_path: Path, **how: Any) -> Job:
    return Job(build / FORMAT, build / "reference" / "pixels.npy", tmp_path / "work", warmup=0, rounds=2, **how)


@pytest.mark.parametrize("model", ["exported_digits", "exported_colours"])
def test_a_whole_package_passes(model: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    row = _row(shutil.copytree(request.getfixturevalue(model).build, tmp_path / "whole"))
    assert row.outcome == "passed", row.reason
    assert row.metric("top1_agreement") == 1.0


@pytest.mark.parametrize("arithmetic", ["float16", "float32"])
def test_it_predicts_like_the_keras_model_and_names_its_arithmetic(copy: Path, tmp_path: Path, arithmetic: str) -> None:
    run: Run = targets()[TARGET].run(_job(copy, tmp_path, accelerator=arithmetic))
    reference = np.load(copy / "reference" / "scores.npy")
    assert (run.scores.shape, run.scores.dtype) == (reference.shape, np.float32)
    # Weights are float16 in either arithmetic.
    assert abs(run.scores - reference).max() < 0.01
    assert run.labels == read_artifact(copy / FORMAT).labels
    assert len(run.latencies_ms) == 2
    named = run.environment["arithmetic"]
    assert "not Core ML" in named
    assert ("emulated float16" in named and "not the Neural Engine" in named) == (arithmetic == "float16")


def test_an_accelerator_that_it_does_not_have_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no accelerator 'gpu'; expected one of float16, float32"):
        targets()[TARGET].run(_job(copy, tmp_path, accelerator="gpu"))


def test_it_imports_neither_coremltools_nor_tensorflow(copy: Path, tmp_path: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from edgeferry.targets.target import Job, targets
job = Job(Path({str(copy / FORMAT)!r}), Path({str(copy / "reference" / "pixels.npy")!r}), Path({str(tmp_path)!r}), 0, 1)
targets()["{TARGET}"].run(job)
print(*sorted({{"coremltools", "tensorflow", "keras", "sklearn"}} & set(sys.modules)))
"""
    root = ROOT
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_the_messages_do_not_disturb_coremltools() -> None:
    ours = messages().Model
    ct = pytest.importorskip("coremltools", reason="coremltools is not installed")
    assert ct.proto.Model_pb2.Model is ours


def test_the_other_channel_order_in_the_description_fails(copy: Path) -> None:
    def swap(specification: Any, _: Any) -> None:
        image = specification.description.input[0].type.imageType
        image.colorSpace = image.RGB if image.colorSpace == image.BGR else image.BGR

    _edit(copy, swap)
    row = _row(copy)
    assert row.outcome == "failed"
    assert "agreement is" in row.reason


def test_a_scale_halved_fails(copy: Path) -> None:
    def halve(_: Any, operations: Any) -> None:
        called = next(operation for operation in operations if operation.type == "mul")
        names = {each.name for bound in called.inputs.values() for each in bound.arguments}
        scale = next(each for each in operations if each.type == "const" and each.outputs[0].name in names)
        values = scale.attributes["val"].immediateValue.tensor.floats.values
        assert len(values) > 0
        values[:] = [value / 2 for value in values]

    _edit(copy, halve)
    assert _row(copy).outcome == "failed"


def test_labels_in_another_order_fail(copy: Path) -> None:
    def turn(_: Any, operations: Any) -> None:
        classify = next(operation for operation in operations if operation.type == "classify")
        members = classify.inputs["classes"].arguments[0].value.immediateValue.list.values
        first, last = members[0].immediateValue.tensor.strings.values, members[-1].immediateValue.tensor.strings.values
        first[0], last[0] = last[0], first[0]

    _edit(copy, turn)
    row = _row(copy)
    assert row.outcome == "failed"
    assert re.search("0 'cyan'.*'red'", row.reason)


def test_weights_edited_in_the_file_fail(copy: Path) -> None:
    path = _package(copy) / WEIGHTS
    data = bytearray(path.read_bytes())
    weights = np.frombuffer(data, np.float16)
    # After the first weight's record, to the end: signs inverted, records unchanged.
    package = open_package(_package(copy))
    offsets = [each.attributes["val"].blobFileValue.offset for each in package.block.operations if each.type == "const"]
    for offset in filter(None, offsets):
        size, begins = (int.from_bytes(data[offset + at : offset + at + 8], "little") for at in (8, 16))
        weights[begins // 2 : (begins + size) // 2] *= -1
    path.write_bytes(data)
    _sign(copy)
    assert _row(copy).outcome == "failed"


@pytest.mark.parametrize("share", [0, 0.5, 0.99])
def test_a_weight_file_cut_short_fails(copy: Path, share: float) -> None:
    path = _package(copy) / WEIGHTS
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    _sign(copy)
    row = _row(copy)
    assert row.outcome == "failed"
    assert re.search(r"ends at byte \d+", row.reason)


def test_a_weight_at_another_offset_fails(copy: Path) -> None:
    def move(_: Any, operations: Any) -> None:
        held = [each.attributes["val"] for each in operations if each.type == "const"]
        value = next(each for each in held if each.WhichOneof("value") == "blobFileValue")
        value.blobFileValue.offset += 64

    _edit(copy, move)
    assert re.search(r"no weight record at byte \d+", _row(copy).reason)


def test_an_operation_that_is_not_supported_is_named(copy: Path) -> None:
    def rename(_: Any, operations: Any) -> None:
        next(operation for operation in operations if operation.type == "relu6").type = "relu7"

    _edit(copy, rename)
    row = _row(copy)
    assert row.outcome == "unsupported"
    assert row.reason.endswith("operations: relu7")


def test_an_unsupported_input_is_named(copy: Path) -> None:
    def add(_: Any, operations: Any) -> None:
        called = next(operation for operation in operations if operation.type == "relu6")
        called.inputs["ceiling"].CopyFrom(called.inputs["x"])

    _edit(copy, add)
    with pytest.raises(
        Unsupported, match="relu6 has the input 'ceiling'", check=lambda error: error.code == "EF-mil-unsupported"
    ):
        read_program(open_package(_package(copy)), rounds_to_float16=False)


def test_a_result_of_another_shape_than_declared_fails(copy: Path) -> None:
    def widen(_: Any, operations: Any) -> None:
        called = next(operation for operation in operations if operation.type == "conv")
        called.outputs[0].type.tensorType.dimensions[1].constant.size += 1

    _edit(copy, widen)
    row = _row(copy)
    assert row.outcome == "failed"
    assert "its operation returns" in row.reason


def test_a_name_that_nothing_writes_is_reported(copy: Path) -> None:
    def lose(_: Any, operations: Any) -> None:
        next(operation for operation in operations if operation.type == "relu6").inputs["x"].arguments[0].name = "nobody"

    _edit(copy, lose)
    assert "reads 'nobody', which nothing before it writes" in _row(copy).reason


def test_pictures_of_another_size_are_refused(copy: Path) -> None:
    def grow(specification: Any, _: Any) -> None:
        specification.description.input[0].type.imageType.width += 1

    _edit(copy, grow)
    assert "the package takes images of (24, 21)" in _row(copy).reason


def test_gray_pictures_are_not_fed_colour(copy: Path) -> None:
    def fade(specification: Any, _: Any) -> None:
        image = specification.description.input[0].type.imageType
        image.colorSpace = image.GRAYSCALE

    _edit(copy, fade)
    assert "the package takes GRAYSCALE pictures; the config's are bgr" in _row(copy).reason


@pytest.mark.parametrize(
    ("file", "content", "code"),
    [
        ("Manifest.json", b"{", "EF-mlpackage-manifest"),
        ("Manifest.json", b"{}", "EF-mlpackage-manifest"),
        (MODEL, b"\xff\xff\xff", "EF-mlpackage-specification"),
    ],
)
def test_a_damaged_package_is_refused(copy: Path, file: str, content: bytes, code: str) -> None:
    (_package(copy) / file).write_bytes(content)
    with pytest.raises(EdgeError, match=Path(file).name, check=lambda error: error.code == code):
        open_package(_package(copy))


@pytest.mark.parametrize("file", ["Manifest.json", MODEL, WEIGHTS])
def test_a_missing_file_is_reported(copy: Path, file: str) -> None:
    (_package(copy) / file).unlink()
    with pytest.raises(EdgeError, match=Path(file).name, check=lambda error: error.code == "EF-mlpackage-incomplete"):
        read_program(open_package(_package(copy)), rounds_to_float16=False)


def test_a_manifest_that_leads_out_of_the_package_is_refused(copy: Path) -> None:
    path = _package(copy) / "Manifest.json"
    manifest = json.loads(path.read_text())
    manifest["itemInfoEntries"][manifest["rootModelIdentifier"]]["path"] = "../../../../etc/passwd"
    path.write_text(json.dumps(manifest))
    with pytest.raises(EdgeError, match="/etc/passwd", check=lambda error: error.code == "EF-mlpackage-path"):
        open_package(_package(copy))


def test_another_type_of_model_is_unsupported(copy: Path) -> None:
    package = open_package(_package(copy))
    package.specification.identity.SetInParent()
    with pytest.raises(Unsupported, check=lambda error: error.code == "EF-mlprogram-missing"):
        _ = package.block


def test_labels_are_read_from_the_program_itself(copy: Path) -> None:
    assert labels_of(open_package(_package(copy))) == ("red", "blue", "yellow", "cyan")
