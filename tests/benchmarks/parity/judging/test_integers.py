# SPDX-License-Identifier: Apache-2.0
"""The rule for integers: at most one step from the parent's, and the same class."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from edgeferry.benchmarks.parity import one_run
from edgeferry.benchmarks.parity import run as harness
from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.judging.expected import images_to_run
from edgeferry.benchmarks.parity.judging.integers import compare, expected_integers
from edgeferry.benchmarks.parity.lanes import SideBySide
from edgeferry.benchmarks.parity.results import RUNS
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.models.artifact import read_artifact, write_manifest
from edgeferry.models.exports import Export, Exports, record_manifest, write_exports
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Absent, Job, Run, Target, choose

PARENT = np.array([[10, 200, 30], [90, 90, 20]], np.uint8)


def test_one_step_is_allowed_and_two_are_not() -> None:
    assert compare(PARENT, PARENT).problem == ""
    found = PARENT.copy()
    found[0, 1] += 1
    assert compare(found, PARENT).problem == ""
    found[0, 1] += 1
    assert compare(found, PARENT).problem == "an integer differs by 2 steps; expected at most 1"


def test_a_difference_does_not_wrap_around() -> None:
    assert compare(np.array([[0, 9]], np.uint8), np.array([[255, 9]], np.uint8)).steps == 255


def test_another_class_fails_though_within_one_step() -> None:
    found = compare(np.array([[100, 101]], np.uint8), np.array([[101, 100]], np.uint8))
    assert (found.steps, found.other_classes) == (1, 1)
    assert found.problem == "1 of 1 images have another class than the integers expected"


@pytest.mark.parametrize(("found", "expected"), [([100, 100], [100, 101]), ([101, 100], [100, 100])])
def test_equal_integers_share_the_first_place(found: list[int], expected: list[int]) -> None:
    assert compare(np.array([found], np.int8), np.array([expected], np.int8)).problem == ""


@pytest.mark.parametrize("found", [PARENT[:1], PARENT.astype(np.int8), PARENT[:, :2]])
def test_what_cannot_be_compared_is_refused(found: Any) -> None:
    with pytest.raises(EdgeError, match="uint8", check=lambda error: error.code == "EF-integer-shape"):
        compare(found, PARENT)


@pytest.fixture
def compiled(exported_digits: Any, tmp_path: Path) -> Path:
    """Return a build whose edgetpu-int8 says that it was compiled from the tflite-int8 next to it."""
    if (why := choose(("litert-builtin",))[0].missing()) is not None:
        pytest.skip(why)
    build = tmp_path / "digits"
    for name in (REFERENCE, "tflite-int8"):
        shutil.copytree(exported_digits.build / name, build / name)
    shutil.copytree(build / "tflite-int8", build / "edgetpu-int8")
    parent = read_artifact(build / "tflite-int8")
    options = {"parent_sha256": parent.files[parent.main_file]["sha256"]}
    write_manifest(replace(parent, format="edgetpu-int8", kind="edgetpu", options=options), build / "edgetpu-int8")
    names = ("tflite-int8", "edgetpu-int8")
    write_exports(build, Exports(tuple(Export(name, "written", "") for name in names)))
    for name in names:
        record_manifest(build, name)
    return build


def _row(build: Path, monkeypatch: pytest.MonkeyPatch, run: Any, steps: list[str] | None = None) -> Any:
    """Return the row of the compiled artifact where ``run`` is called in place of a board."""

    class HereChild:
        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def call(self, function: Any, name: str, job: Job, **_: Any) -> Run:
            assert (function, name) == (one_run.run_job, "coral-edgetpu")
            output: Run = run(job)
            return output

    monkeypatch.setattr(harness, "SideBySide", lambda *how: SideBySide(*how[:3], HereChild()))
    target = Target("coral-edgetpu", "", frozenset({"edgetpu"}), lambda: None, run, dict)
    step = (lambda *_: None) if steps is None else (lambda text, *_: steps.append(text))
    rows = run_all(open_bench(build, (target,), step, reuse=steps is not None))
    return next(row for row in rows if row.format == "edgetpu-int8")


def _shifted(build: Path, by: int) -> Any:
    """Return a run whose output is the parent's integers, one of them moved."""
    artifact = read_artifact(build / "edgetpu-int8")
    stored = expected_integers(build, artifact, images_to_run(build)).copy()
    lowest = np.unravel_index(stored.argmin(), stored.shape)
    stored[lowest] += by
    output = artifact.outputs[0]
    scores = ((stored.astype(np.float32) - (output.zero_point or 0)) * (output.scale or 1)).astype(np.float32)
    return lambda _: Run(scores, None, (1.0,), 1.0, 1.0, {"runtime": "a stand-in", "threads": 1}, stored=stored)


def test_a_compiled_artifact_is_compared_with_its_parent_s_integers(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = _row(compiled, monkeypatch, _shifted(compiled, 1))
    assert (row.outcome, row.environment["integer_steps"]) == ("passed", 1)
    assert row.reason.endswith("; every integer within 1 step of its parent's")


def test_two_steps_fail_an_artifact_whose_scores_pass(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    row = _row(compiled, monkeypatch, _shifted(compiled, 2))
    assert row.outcome == "failed"
    assert row.reason == "an integer differs by 2 steps; expected at most 1"
    assert row.metric("top1_agreement") > 0.97


def test_a_compiled_artifact_of_another_parent_is_stale(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = _shifted(compiled, 0)
    artifact = read_artifact(compiled / "edgetpu-int8")
    write_manifest(replace(artifact, options={"parent_sha256": "0" * 64}), compiled / "edgetpu-int8")
    record_manifest(compiled, "edgetpu-int8")
    row = _row(compiled, monkeypatch, run)
    assert row.outcome == "failed"
    assert row.verdict.code == "EF-artifact-stale"


def test_the_parent_s_integers_are_computed_once(compiled: Path) -> None:
    artifact, pixels = read_artifact(compiled / "edgetpu-int8"), images_to_run(compiled)
    first = expected_integers(compiled, artifact, pixels)
    (kept,) = (compiled / RUNS / "litert-builtin").glob("*.npy")
    before = kept.stat().st_mtime_ns
    assert (expected_integers(compiled, artifact, pixels) == first).all()
    assert kept.stat().st_mtime_ns == before


def test_a_board_that_is_absent_is_tried_again_the_next_time(compiled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(_: Job) -> Run:
        raise Absent("EF-unplugged", "no device: it is unplugged")

    row = _row(compiled, monkeypatch, away, first := [])
    assert (row.outcome, row.verdict.code) == ("not checked", "EF-unplugged")
    assert row.reason.endswith(": no device: it is unplugged")
    _row(compiled, monkeypatch, _shifted(compiled, 0), second := [])
    assert first == second == ["checking edgetpu-int8 on coral-edgetpu"]


def test_a_compiled_artifact_that_no_requested_target_reads_says_which_do(compiled: Path) -> None:
    rows = run_all(open_bench(compiled, choose(("keras",)), lambda *_: None, reuse=False))
    row = next(row for row in rows if row.format == "edgetpu-int8")
    assert row.outcome == "not checked"
    assert "coral-edgetpu does: " in row.reason
    assert "edgetpu-usb does: " in row.reason
