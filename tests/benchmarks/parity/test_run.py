# SPDX-License-Identifier: Apache-2.0
import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from edgeferry.benchmarks.parity import one_run
from edgeferry.benchmarks.parity import run as harness
from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.lanes import SideBySide
from edgeferry.benchmarks.parity.one_run import ROUNDS
from edgeferry.benchmarks.parity.results import RESULTS, SCHEMA
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.models.artifact import EXPORTS
from edgeferry.models.exports import Export, Exports, record_manifest, write_exports
from edgeferry.models.reference import REFERENCE, SCORES
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Absent, Job, Run, Target, Unsupported, choose


@pytest.fixture
def few(exported_digits: Any, tmp_path: Path) -> Path:
    """Return a build with three artifacts and one format that was not run."""
    build = tmp_path / "digits"
    for name in (REFERENCE, "onnx-float32", "tflite-float32", "coreml-float16"):
        shutil.copytree(exported_digits.build / name, build / name)
    states = {"coreml-float16": "written", "onnx-float32": "kept", "tflite-float32": "written", "edgetpu-int8": "not run"}
    write_exports(build, Exports(tuple(Export(name, state, "it says why") for name, state in states.items())))
    for name in ("onnx-float32", "tflite-float32", "coreml-float16"):
        record_manifest(build, name)
    return build


def _rows(build: Path, *targets: str, reuse: bool = False) -> tuple[list[Any], list[str]]:
    steps: list[str] = []
    return list(run_all(open_bench(build, choose(targets or None), _counted(steps), reuse=reuse))), steps


def _counted(steps: list[str]) -> Any:
    """Return a step that adds ``1/3 checking tflite-int8 on litert`` to a list."""
    return lambda text, number=0, total=0: steps.append(f"{number}/{total} {text}")


def _replaced(monkeypatch: pytest.MonkeyPatch, name: str, run: Any, missing: str | None = None) -> Target:
    """Put another target in a real one's place; run in this process, since a child would find the real one."""
    target = Target(name, "", frozenset({"onnx"}), lambda: missing, run, dict)
    monkeypatch.setattr(harness, "SideBySide", lambda *how: SideBySide(*how[:3], _HereChild()))
    monkeypatch.setattr(one_run, "run_job", lambda _, job: run(job))
    return target


class _HereChild:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def call(self, function: Any, *arguments: Any, log: Path, timeout_s: float) -> Any:
        assert log.parent.is_dir()
        assert timeout_s > 0
        return function(*arguments)


def test_a_format_that_was_not_run_keeps_its_reason(few: Path) -> None:
    row = next(row for row in _rows(few, "litert")[0] if row.format == "edgetpu-int8")
    assert (row.target, row.outcome, row.reason) == ("-", "not run", "it says why")


def test_an_artifact_whose_runtimes_are_all_absent_is_not_checked(few: Path) -> None:
    row = next(row for row in _rows(few, "coreml-all", "litert")[0] if row.format == "coreml-float16")
    if choose(("coreml-all",))[0].missing() is None:
        pytest.skip("this is a Mac, which can run it")
    assert row.outcome == "not checked"
    assert row.verdict.images is None
    assert "macOS" in row.reason


def test_an_artifact_that_no_target_reads_is_not_checked(few: Path) -> None:
    row = next(row for row in _rows(few, "litert")[0] if row.format == "onnx-float32")
    assert (row.outcome, row.target) == ("not checked", "-")


def test_a_measured_row_says_what_ran(few: Path) -> None:
    row = next(row for row in _rows(few, "litert")[0] if row.format == "tflite-float32")
    assert row.outcome == "passed"
    assert row.verdict.images == 360
    assert row.metric("top1_agreement") == 1
    assert row.latency_ms_median > 0
    assert row.environment["runtime"]


def test_results_are_used_again_only_on_request(few: Path) -> None:
    assert _rows(few, "litert", reuse=True)[1] == ["1/1 checking tflite-float32 on litert"]
    assert _rows(few, "litert", reuse=True)[1] == []
    assert _rows(few, "litert", reuse=False)[1] == ["1/1 checking tflite-float32 on litert"]


def test_results_used_again_are_the_same_rows(few: Path) -> None:
    assert _rows(few, "litert", reuse=True)[0] == _rows(few, "litert", reuse=True)[0]


def test_a_result_line_cut_short_is_passed_over_and_swallows_nothing(few: Path) -> None:
    _rows(few, "litert")
    whole = (few / RESULTS).read_text()
    (few / RESULTS).write_text(whole[: len(whole) // 2])
    assert _rows(few, "litert", reuse=True)[1] == ["1/1 checking tflite-float32 on litert"]
    assert _rows(few, "litert", reuse=True)[1] == []


def test_raw_latencies_are_kept(few: Path) -> None:
    _rows(few, "litert")
    line = json.loads((few / RESULTS).read_text().splitlines()[-1])
    assert len(line["latencies_ms"]) == ROUNDS


def test_only_the_log_is_left_of_a_run(few: Path) -> None:
    if why := choose(("tflite-runtime",))[0].missing():
        pytest.skip(why)
    _rows(few, "tflite-runtime")
    assert [path.name for path in (few / "runs" / "tflite-runtime" / "tflite-float32").iterdir()] == ["run.log"]


def test_what_will_run_is_counted_before_it_runs_and_what_is_known_is_not_counted(few: Path) -> None:
    if choose(("coreml-all",))[0].missing() is None:
        pytest.skip("this is a Mac, where Core ML runs too")
    _rows(few, "litert", reuse=True)
    steps = _rows(few, "coreml-all", "litert", "onnxruntime-cpu", reuse=True)[1]
    assert steps == ["1/1 checking onnx-float32 on onnxruntime-cpu"]
    assert _rows(few, "litert", "onnxruntime-cpu", reuse=False)[1] == [
        "1/2 checking tflite-float32 on litert",
        "2/2 checking onnx-float32 on onnxruntime-cpu",
    ]


def test_results_of_an_older_schema_are_passed_over(few: Path) -> None:
    _rows(few, "litert")
    line = json.loads((few / RESULTS).read_text())
    (few / RESULTS).write_text(json.dumps(line | {"schema": SCHEMA - 1}) + "\n")
    assert len(_rows(few, "litert", reuse=True)[1]) == 1


def test_a_target_that_cannot_run_a_sound_artifact_is_unsupported(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(job: Job) -> Run:
        raise Unsupported("EF-no-operation", f"no such operation in {job.folder.name}")

    target = _replaced(monkeypatch, "onnxruntime-cpu", refuse)
    rows = run_all(open_bench(few, (target,), lambda *_: None, reuse=False))
    row = next(row for row in rows if row.format == "onnx-float32")
    assert (row.outcome, row.verdict.code) == ("unsupported", "EF-no-operation")
    assert row.reason == "no such operation in onnx-float32"


def test_a_target_that_is_absent_when_it_should_run_leaves_its_artifact_not_checked(
    few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(job: Job) -> Run:
        raise Absent("EF-unplugged", f"no device for {job.folder.name}")

    target = _replaced(monkeypatch, "onnxruntime-cpu", away)
    rows = run_all(open_bench(few, (target,), lambda *_: None, reuse=False))
    row = next(row for row in rows if row.format == "onnx-float32")
    assert (row.outcome, row.verdict.code) == ("not checked", "EF-unplugged")
    assert row.reason.endswith("no device for onnx-float32")


def test_a_software_rendered_gpu_is_judged_by_the_images_it_ran_and_not_timed(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reference = np.load(few / REFERENCE / SCORES)
    images = (0, 100, 200)

    def run(_: Job, shift: int = 0) -> Run:
        scores = reference[[at + shift for at in images]]
        return Run(scores, None, (5.0,), 5.0, 1.0, {"runtime": "x", "threads": 1, "software_gpu": True}, images)

    target = _replaced(monkeypatch, "onnxruntime-cpu", run)
    row, *_ = (row for row in run_all(open_bench(few, (target,), lambda *_: None, reuse=False)) if row.format == "onnx-float32")
    assert (row.outcome, row.verdict.images, row.metric("p99_difference"), row.latency_ms_median) == (
        "inconclusive",
        3,
        0.0,
        None,
    )
    target = _replaced(monkeypatch, "onnxruntime-cpu", partial(run, shift=1))
    row, *_ = (row for row in run_all(open_bench(few, (target,), lambda *_: None, reuse=False)) if row.format == "onnx-float32")
    assert (row.outcome, row.verdict.images) == ("failed", 3)


def test_a_target_that_dies_is_a_failed_row(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Target("onnxruntime-cpu", "", frozenset({"onnx"}), lambda: None, _die, dict)
    monkeypatch.setattr(one_run, "run_job", _die_as)
    rows = run_all(open_bench(few, (target,), lambda *_: None, reuse=False))
    row = next(row for row in rows if row.format == "onnx-float32")
    assert row.outcome == "failed"
    assert "killed by SIGSEGV" in row.reason
    again: list[str] = []
    run_all(open_bench(few, (target,), _counted(again), reuse=True))
    assert again == ["1/1 checking onnx-float32 on onnxruntime-cpu"]


def _die(job: Job) -> Run:
    os.kill(os.getpid(), signal.SIGSEGV)
    raise AssertionError(job)


def _die_as(_: str, job: Job) -> Run:
    return _die(job)


def test_without_an_export_it_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-reference-missing"):
        open_bench(tmp_path, (), lambda *_: None, reuse=False)


def test_without_a_list_of_exports_it_says_what_to_do(few: Path) -> None:
    (few / EXPORTS).write_text("{")
    with pytest.raises(EdgeError, match="exports.json", check=lambda error: error.code == "EF-exports-unreadable"):
        _rows(few, "litert")
