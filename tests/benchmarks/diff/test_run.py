# SPDX-License-Identifier: Apache-2.0
"""Builds of the digits classifier compared with copies whose ONNX file was really changed."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from edgeferry.benchmarks.diff.answers import Known
from edgeferry.benchmarks.diff.pair import measured
from edgeferry.benchmarks.diff.result import BuildDiff, ResultDiff
from edgeferry.benchmarks.diff.run import diff
from edgeferry.benchmarks.parity.rows import cleaned
from edgeferry.benchmarks.report.diff_text import print_diff
from edgeferry.models.artifact import files_of, read_artifact, write_manifest
from edgeferry.models.decision import ONE_LABEL
from edgeferry.models.exports import Export, Exports, write_exports
from edgeferry.models.reference import FACTS, REFERENCE
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.target import Run, choose

FORMATS: Final = ("onnx-float32", "tflite-float32")


@pytest.fixture
def builds(exported_digits: Any, tmp_path: Path) -> tuple[Path, Path]:
    """Return two equal builds with two formats."""
    for side in ("old", "new"):
        for name in (REFERENCE, *FORMATS):
            shutil.copytree(exported_digits.build / name, tmp_path / side / name)
        write_exports(tmp_path / side, Exports(tuple(Export(name, "written", "") for name in FORMATS)))
    return tmp_path / "old", tmp_path / "new"


def disturb(build: Path, noise: float) -> None:
    """Add noise to every weight of the ONNX file, as a share of the weights' own spread, and say so in the manifest."""
    import onnx
    from onnx import numpy_helper

    folder, random = build / "onnx-float32", np.random.default_rng(3)
    artifact = read_artifact(folder)
    model = onnx.load(folder / artifact.main_file)
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        if values.dtype == np.float32:
            changed = values + noise * values.std() * random.standard_normal(values.shape)
            weight.CopyFrom(numpy_helper.from_array(changed.astype(np.float32), weight.name))
    onnx.save(model, folder / artifact.main_file)
    options, tools = {**artifact.options, "opset": 99}, {**artifact.tool_versions, "tf2onnx": "9.9"}
    write_manifest(replace(artifact, files=files_of(folder), options=options, tool_versions=tools), folder)


def found(builds: tuple[Path, Path], *formats: str, target: str = "onnxruntime-cpu") -> BuildDiff:
    return diff(*builds, formats, choose((target,)), lambda *_: None)


def onnx_result(compared: BuildDiff) -> ResultDiff:
    return next(each for each in compared.results if each.format == "onnx-float32")


def test_equal_builds_are_the_same_and_nothing_is_run(builds: tuple[Path, Path]) -> None:
    compared = found(builds)
    assert [(each.state, each.answers) for each in compared.results] == [("same", None)] * 2
    assert (compared.exit_status, compared.changes) == (0, ())


def test_a_little_noise_is_a_change_with_its_tools_and_options(builds: tuple[Path, Path]) -> None:
    disturb(builds[1], 0.001)
    compared = found(builds)
    answers = onnx_result(compared).answers
    assert (onnx_result(compared).state, compared.exit_status) == ("changed", 0)
    assert answers is not None
    assert (answers.images, answers.judged, answers.mean_difference > 0) == (360, 360, True)
    assert {each.what for each in compared.changes} == {"tool tf2onnx", "option opset"}


def test_much_noise_is_worse_and_the_other_way_round_better(builds: tuple[Path, Path]) -> None:
    disturb(builds[1], 2.0)
    assert (onnx_result(found(builds)).state, found(builds).exit_status) == ("worse", 1)
    assert onnx_result(found((builds[1], builds[0]))).state == "better"


def test_a_file_that_no_longer_runs_is_worse(builds: tuple[Path, Path]) -> None:
    disturb(builds[1], 0.001)
    folder = builds[1] / "onnx-float32"
    artifact = read_artifact(folder)
    (folder / artifact.main_file).write_bytes(b"no model")
    write_manifest(replace(artifact, files=files_of(folder)), folder)
    assert onnx_result(found(builds)).state == "worse"


def test_runs_of_other_images_are_compared_on_those_in_common() -> None:
    artifact = SimpleNamespace(labels=("a", "b"), output="probabilities")
    old = Run(np.eye(2, dtype=np.float32)[[0, 1, 0, 0]], None, (), 1, 1)
    new = Run(np.eye(2, dtype=np.float32)[[1, 1]], None, (), 1, 1, image_indices=(3, 1))
    blank = ResultDiff("tflite-int8", "tflite-2.5", "not compared", "")
    answers = measured(blank, (old, new), (artifact, artifact), Known(np.array([0, 1, 0, 0]), "labels", ONE_LABEL)).answers
    assert answers is not None
    assert (answers.images, answers.only_old, [flip.image for flip in answers.flips]) == (2, 1, [3])


def test_an_output_that_is_no_number_is_worse() -> None:
    artifact = SimpleNamespace(labels=("a", "b"), output="probabilities")
    old = Run(np.eye(2, dtype=np.float32), None, (), 1, 1)
    blank = ResultDiff("tflite-int8", "litert", "not compared", "")
    found = measured(
        blank, (old, replace(old, scores=old.scores * np.nan)), (artifact, artifact), Known(np.array([0, 1]), "labels", ONE_LABEL)
    )
    assert (found.state, "NaN" in found.reason) == ("worse", True)


def test_a_format_whose_export_fails_now_is_worse(builds: tuple[Path, Path]) -> None:
    write_exports(builds[1], Exports((Export("onnx-float32", "failed", "no such operation"), Export(FORMATS[1], "kept", ""))))
    assert (onnx_result(found(builds)).state, found(builds).exit_status) == ("worse", 1)


def test_a_damaged_artifact_is_not_compared(builds: tuple[Path, Path]) -> None:
    folder = builds[1] / "onnx-float32"
    (folder / read_artifact(folder).main_file).write_bytes(b"damaged")
    compared = found(builds, "onnx-float32")
    assert [(each.state, "sha256" in each.reason) for each in compared.results] == [("not compared", True)]
    assert compared.exit_status == 2


def test_builds_of_other_classes_are_refused(builds: tuple[Path, Path]) -> None:
    facts = builds[1] / REFERENCE / FACTS
    fields = json.loads(facts.read_text(encoding="utf-8"))
    facts.write_text(json.dumps({**fields, "labels": ["cat", *fields["labels"][1:]]}), encoding="utf-8")
    with pytest.raises(EdgeError) as error:
        found(builds)
    assert error.value.code == "EF-diff-incomparable"


def test_the_json_follows_its_schema(builds: tuple[Path, Path]) -> None:
    disturb(builds[1], 2.0)
    schema = json.loads((ROOT / "benchmarks" / "diff" / "diff.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    printed = json.loads(json.dumps(cleaned(found(builds).as_json())))
    assert [error.message for error in Draft202012Validator(schema).iter_errors(printed)] == []


def test_the_text_fits_a_terminal_and_says_why(builds: tuple[Path, Path]) -> None:
    disturb(builds[1], 2.0)
    file = io.StringIO()
    compared = replace(found(builds), old="old", new="new")
    print_diff(compared, Console(file=file, width=80, force_terminal=True, color_system=None))
    lines = file.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert any(line.startswith("worse: onnx-float32 on onnxruntime-cpu: ") for line in lines)
    assert "option opset: " in file.getvalue()
