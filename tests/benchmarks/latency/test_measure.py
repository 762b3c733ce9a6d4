# SPDX-License-Identifier: Apache-2.0
"""Every artifact of the default classifier measured for real, and runs in which one of them fails."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from edgeferry.benchmarks.latency import interleave
from edgeferry.benchmarks.latency.costs.run import MeasuredCosts
from edgeferry.benchmarks.latency.entries import BenchPlan, Selection, entries_of, parse_baseline
from edgeferry.benchmarks.latency.interleave import Times
from edgeferry.benchmarks.latency.measure import _not_on_software, keep, measure
from edgeferry.benchmarks.latency.records import (
    HISTORY,
    LATENCY,
    SCHEMA,
    Latencies,
    append_history,
    read_latencies,
    write_latencies,
)
from edgeferry.benchmarks.latency.samples import samples_needed
from edgeferry.benchmarks.report.latency_text import latency_lines, percentile, row_of
from edgeferry.models.exports import Exports, write_exports
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.target import choose

FORMATS: Final = ("keras", "onnx-float32", "tflite-float32", "tflite-int8")
SHORT: Final = BenchPlan(launches=2, percentile=50)
LITERT: Final = ("tflite-float32", "litert")


def _quiet(_text: str, _number: int = 0, _total: int = 0) -> None:
    return


def _measured(build: Path, *names: str, formats: tuple[str, ...] = FORMATS, **more: Any) -> Latencies:
    return measure(Selection(build, formats, choose(names), more.pop("baseline", None)), more.pop("plan", SHORT), _quiet)


@pytest.fixture
def own(exported_digits: Any, tmp_path: Path) -> Path:
    """Return a copy of the default classifier's artifacts, for a test to spoil."""
    for name in (*FORMATS, "reference"):
        shutil.copytree(exported_digits.build / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def found(exported_digits: Any) -> Latencies:
    targets = ("keras", "litert", "onnxruntime-cpu", "onnxruntime-cuda", "tflite-runtime")
    return _measured(exported_digits.build, *targets, formats=FORMATS[:3])


@pytest.mark.slow
def test_every_case_is_measured_or_says_why_not(found: Latencies) -> None:
    states = {(case.format, case.target): case.state for case in found.cases}
    assert states["keras", "keras"] == states[LITERT] == states["onnx-float32", "onnxruntime-cpu"] == "measured"
    assert states["onnx-float32", "onnxruntime-cuda"] in {"not run", "measured"}
    for case in found.cases:
        assert bool(case.samples_ms) == (case.state == "measured")
        assert bool(case.reason) == (case.state != "measured")
        if case.state == "measured":
            assert case.grade
            assert case.agrees
            assert len(case.load_ms) == len(case.first_ms) == len(case.wall_ms) == 2
            assert {len(launch) for launch in case.wall_ms} == {SHORT.rounds}
            assert {"runtime", "version", "threads"} <= set(case.environment)


@pytest.mark.slow
def test_litert_is_faster_than_the_keras_model_and_the_keras_model_is_the_baseline(found: Latencies) -> None:
    assert found.baseline == "keras on keras"
    assert found.null is not None
    against = next(each for each in found.compared if (each.format, each.target) == LITERT)
    assert against.verdict == "faster"
    assert against.by == "CPU time"
    assert not [each for each in found.compared if each.target == "tflite-runtime"], "it was not interleaved"


@pytest.mark.slow
def test_what_was_measured_is_written_and_read_back(found: Latencies, tmp_path: Path) -> None:
    write_latencies(found, tmp_path)
    assert read_latencies(tmp_path / LATENCY) == found
    append_history(found, tmp_path)
    append_history(found, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert [line["schema"] for line in lines] == [1, 1]
    assert {case["format"] for case in lines[0]["cases"]} == set(FORMATS[:3])


@pytest.mark.slow
def test_what_is_written_follows_its_published_schema(found: Latencies, exported_digits: Any) -> None:
    with_costs = _measured(exported_digits.build, "litert", formats=("tflite-int8",), plan=replace(SHORT, costs=True))
    schema = json.loads((ROOT / "benchmarks" / "latency" / "latency.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    for run in (found, with_costs):
        written = json.loads(json.dumps(run.as_json()))
        assert [error.message for error in Draft202012Validator(schema).iter_errors(written)] == []
        assert set(written["cases"][0]["costs"]) <= set(written["cost_definitions"])
        for spoiled in ({"median": 1.0}, {"costs": {"memory_bytes": "much"}}, {"costs": {"Memory": 1}}):
            written["cases"][0] = json.loads(json.dumps(run.as_json()))["cases"][0] | spoiled
            assert not Draft202012Validator(schema).is_valid(written)


def test_a_software_rendered_gpu_is_not_timed_with_every_other_artifact(exported_digits: Any) -> None:
    selection = Selection(exported_digits.build, (), choose(("chromium-webgl", "node-wasm")))
    entries = list(entries_of(selection))
    first = next(entry for entry in entries if entry.target.name == "chromium-webgl")
    times = {entry.name: Times() for entry in entries}
    _not_on_software(first, entries, times)
    assert all(each.continues for each in times.values())
    times[first.name].environment = {"software_gpu": True}
    _not_on_software(first, entries, times)
    assert {entry.target.name for entry in entries if times[entry.name].continues} == {"node-wasm"}


@pytest.mark.parametrize(("wanted", "launches"), [(BenchPlan(), 3), (BenchPlan(launches=2), 2), (BenchPlan(percentile=99), 3)])
def test_a_target_that_measures_itself_takes_as_many_samples_in_fewer_launches(wanted: BenchPlan, launches: int) -> None:
    assert wanted.blocks[0] == launches
    assert wanted.blocks[0] * wanted.blocks[1] >= samples_needed(wanted.percentile)


@pytest.mark.slow
def test_the_command_writes_json_and_markdown_to_the_named_files(exported_digits: Any, digits: Any, tmp_path: Path) -> None:
    own = tmp_path / "build"
    shutil.copytree(exported_digits.build, own / digits.name)
    command = [sys.executable, "-m", "edgeferry", "bench", str(digits.path), "--build", str(own), "--target", "litert"]
    more = ["--format", "tflite-int8", "--launches", "2", "--percentile", "50", "--json", str(tmp_path / "a.json")]
    done = subprocess.run([*command, *more, "--md", str(tmp_path / "a.md")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.json").read_bytes() == (own / digits.name / LATENCY).read_bytes()
    assert "### Costs besides latency" in (tmp_path / "a.md").read_text()


@pytest.mark.slow
def test_the_table_says_what_was_measured_and_what_not(found: Latencies) -> None:
    rows = {row[:2]: row for row in (row_of(case, found) for case in found.cases)}
    assert rows["keras", "keras"][4] == "baseline"
    assert rows[LITERT][6] == "faster"
    lines = "\n".join(latency_lines(found))
    assert "noise floor (baseline vs itself): " in lines
    assert rows[LITERT][4].endswith("x faster")


def test_no_percentile_is_printed_without_enough_samples() -> None:
    case = replace(_case(), wall_ms=[[1.0] * 32, [1.1] * 31])
    assert percentile(case, 90) == "needs 64 samples, has 63"
    assert percentile(replace(case, wall_ms=[[1.0] * 64]), 90) == "1.00 ms"
    assert percentile(replace(case, calls=9, wall_ms=[[1.0] * 64]), 90) == "-"


def _case() -> Any:
    from edgeferry.benchmarks.latency.records import Case

    return Case("tflite-float32", "litert", "measured", "")


@pytest.mark.parametrize(("wanted", "rounds"), [(50, 20), (90, 20), (99, 133)])
def test_there_are_as_many_rounds_as_the_percentile_needs(wanted: float, rounds: int) -> None:
    assert BenchPlan(percentile=wanted).rounds == rounds


class _Killing(Child):
    """A child whose process is killed in the eighth iteration of tflite-int8."""

    iterations = 0

    def call(self, function: Any, *arguments: Any, **how: Any) -> Any:
        self.iterations += function is interleave.time_iteration and "tflite-int8" in str(how["log"])
        if self.iterations == 8 and self._process is not None and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGKILL)
        return super().call(function, *arguments, **how)


def test_one_that_dies_keeps_its_samples_and_the_others_go_on(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleave, "Child", _Killing)
    found = _measured(own, "litert")
    dead, alive = (next(case for case in found.cases if case.format == form) for form in ("tflite-int8", "tflite-float32"))
    assert dead.state == "failed"
    assert "in round 8 of launch 1: the process was killed by SIGKILL" in dead.reason
    assert [len(launch) for launch in dead.wall_ms] == [7]
    assert alive.state == "measured"
    assert [len(launch) for launch in alive.wall_ms] == [20, 20]


def test_the_code_that_a_model_needs_reaches_every_job(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str | None] = []

    def timed(candidates: Any, *_: Any) -> Any:
        given.extend(each.job.code for each in candidates)
        return interleave.InterleavedTimes({}, interrupted=False)

    monkeypatch.setattr("edgeferry.benchmarks.latency.measure.time_interleaved", timed)
    measure(Selection(own, FORMATS, choose(("litert",)), code="my_layers.py"), SHORT, _quiet)
    assert set(given) == {"my_layers.py"}


def test_an_artifact_that_changed_since_is_refused(own: Path) -> None:
    file = own / "tflite-float32" / "model.tflite"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(EdgeError, match=r"model.tflite", check=lambda error: error.code == "EF-artifact-unsound"):
        _measured(own, "litert")


@pytest.mark.parametrize("score", [0.0, np.nan])
def test_wrong_outputs_while_timed_fail(score: float, own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong(Child):
        def call(self, function: Any, *arguments: Any, **how: Any) -> Any:
            found = super().call(function, *arguments, **how)
            return np.full_like(found, score) if function is interleave.last_scores else found

    monkeypatch.setattr(interleave, "Child", Wrong)
    (case,) = _measured(own, "litert", formats=("tflite-float32",)).cases
    assert (case.state, case.agrees) == ("failed", False)
    assert "while it was timed" in case.reason


@pytest.mark.parametrize(
    ("more", "code", "value"),
    [
        ({"plan": BenchPlan(launches=1)}, "EF-launch-count", "--launches is 1"),
        ({"plan": BenchPlan(percentile=100)}, "EF-percentile-range", "100"),
        ({"plan": BenchPlan(threads=(0,))}, "EF-thread-count", "--threads is 0"),
        ({"baseline": ("tflite-int8", "litertt")}, "EF-baseline-absent", "tflite-int8@litertt .*tflite-int8@litert"),
        ({"formats": ("nothing",)}, "EF-artifact-unsound", "manifest"),
    ],
)
def test_an_impossible_run_is_refused(more: dict[str, Any], code: str, value: str, exported_digits: Any) -> None:
    with pytest.raises(EdgeError, match=value, check=lambda error: error.code == code):
        _measured(exported_digits.build, "litert", **{"formats": ("tflite-int8",)} | more)


def test_a_baseline_is_named_by_format_and_target() -> None:
    assert parse_baseline("tflite-int8@litert") == ("tflite-int8", "litert")
    assert parse_baseline(None) is None
    for wrong in ("litert", "@litert", "keras@"):
        with pytest.raises(EdgeError, check=lambda error: error.code == "EF-baseline-form"):
            parse_baseline(wrong)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"schema": 99}', "99"),
        (f'{{"schema": {SCHEMA}, "cases": [', "cannot be read"),
        (f'{{"schema": {SCHEMA}}}', "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_latencies_is_refused(text: str, value: str, tmp_path: Path) -> None:
    (tmp_path / LATENCY).write_text(text)
    with pytest.raises(EdgeError, match=value):
        read_latencies(tmp_path / LATENCY)


def test_a_missing_file_is_refused_with_the_command_that_writes_it(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="make bench"):
        read_latencies(tmp_path / LATENCY)


@pytest.mark.slow
def test_an_interruption_keeps_what_was_measured(own: Path, digits: Any) -> None:
    shutil.move(own, own.with_name("digits-build"))
    build = own.with_name("all") / digits.name
    shutil.copytree(own.with_name("digits-build"), build)
    command = [
        sys.executable,
        "-m",
        "edgeferry",
        "bench",
        str(digits.path),
        "--build",
        str(build.parent),
        "--target",
        "litert",
    ]
    process = subprocess.Popen([*command, "--percentile", "99.9"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    assert "launch 1 of 5" in process.stderr.readline()
    time.sleep(8)
    process.send_signal(signal.SIGINT)
    _, output = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted; what was measured is kept" in output
    found = read_latencies(build / LATENCY)
    assert found.interrupted
    assert {case.state for case in found.cases} == {"measured"}
    assert all(case.samples_ms for case in found.cases)


def test_a_run_that_measured_nothing_leaves_the_last_one(own: Path, found: Latencies) -> None:
    assert keep(found, own)
    nothing = replace(found, cases=[replace(case, wall_ms=[], state="not run") for case in found.cases], interrupted=True)
    assert not keep(nothing, own)
    assert read_latencies(own / LATENCY) == found
    assert len((own / HISTORY).read_text().splitlines()) == 1


def test_an_artifact_of_another_model_is_refused(own: Path) -> None:
    manifest = own / "tflite-float32" / "manifest.json"
    fields = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(fields | {"source_sha256": "0" * 64}))
    with pytest.raises(EdgeError, match="tflite-float32", check=lambda error: error.code == "EF-artifact-unsound"):
        _measured(own, "litert")


def test_the_baseline_is_the_case_that_was_timed_whatever_the_order_of_threads(exported_digits: Any) -> None:
    found = _measured(
        exported_digits.build,
        "litert",
        formats=("tflite-int8",),
        plan=BenchPlan(2, 50, (2, 1)),
        baseline=("tflite-int8", "litert"),
    )
    assert found.baseline == "tflite-int8 on litert, 2 threads"
    assert {case.name: row_of(case, found)[4] for case in found.cases}[found.baseline] == "baseline"
    assert [(each.threads, each.by) for each in found.compared] == [(1, "wall time")]


@pytest.mark.parametrize("spoilt", ["baseline", "other"])
def test_nothing_is_compared_with_wrong_outputs(own: Path, spoilt: str) -> None:
    formats = ("tflite-float32", "tflite-int8")
    wrong = formats[spoilt == "other"]
    write_exports(own, Exports(tolerances={wrong: {"p99_difference": 0.0}}))
    found = _measured(own, "litert", formats=formats, baseline=("tflite-float32", "litert"))
    assert {case.format: case.state for case in found.cases}[wrong] == "failed"
    assert found.compared == []


@pytest.mark.slow
def test_make_bench_says_what_to_do_where_nothing_was_exported(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_latency.py", "--benchmark-only", "-q"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"EDGEFERRY_BUILD": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "`make export-all`. [EF-reference-missing]" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_make_bench_reports_each_case_to_pytest_benchmark_as_it_was_measured(own: Path, digits: Any, tmp_path: Path) -> None:
    build = tmp_path / "all" / digits.name
    for name in ("tflite-int8", "reference"):
        shutil.copytree(own / name, build / name)
    where = {
        "EDGEFERRY_BUILD": str(build.parent),
        "EDGEFERRY_MODEL": str(digits.path),
        "EDGEFERRY_TARGETS": "litert",
    }
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_latency.py", "--benchmark-only", "-q"]
    done = subprocess.run(
        [*command, f"--benchmark-json={tmp_path / 'cases.json'}"],
        cwd=ROOT,
        env=os.environ | where,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    benchmarks = {each["name"]: each for each in json.loads((tmp_path / "cases.json").read_text())["benchmarks"]}
    for case in read_latencies(build / LATENCY).cases:
        row = benchmarks[f"bench_latency[{case.format}@{case.target}]"]
        assert row["stats"]["median"] * 1000 == pytest.approx(np.median(case.samples_ms), rel=1e-6)
        assert row["stats"]["rounds"] == len(case.samples_ms)
        assert row["extra_info"]["environment"] == case.environment
        assert row["extra_info"]["costs"] == case.costs


def test_make_bench_takes_a_keras_file_with_a_config_next_to_it(digits: Any, tmp_path: Path) -> None:
    model = tmp_path / "mine.keras"
    shutil.copy(digits.model, model)
    text = digits.path.read_text(encoding="utf-8").replace("source/digits.keras", "mine.keras")
    model.with_suffix(".toml").write_text(text.replace("source/", f"{digits.path.parent}/source/"), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_latency.py", "--benchmark-only", "-q"]
    where = {"EDGEFERRY_BUILD": str(tmp_path), "EDGEFERRY_MODEL": str(model)}
    done = subprocess.run(command, cwd=ROOT, env=os.environ | where, capture_output=True, text=True, check=False)
    assert "[EF-reference-missing]" in done.stdout, done.stdout + done.stderr


class _Steps:
    """A step that records what it is called with."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, int, int]] = []

    def __call__(self, text: str, number: int = 0, total: int = 0, /) -> None:
        self.calls.append((text, number, total))


def test_progress_counts_to_its_total(exported_digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    # Measuring them takes seconds; here the steps are counted.
    monkeypatch.setattr("edgeferry.benchmarks.latency.measure.costs_of_running", lambda *_: MeasuredCosts())
    selection, steps = Selection(exported_digits.build, ("tflite-float32",), choose(("litert",))), _Steps()
    measure(selection, replace(SHORT, costs=True), steps)
    # Two launches of the artifact and of the baseline, which is itself, then its costs.
    assert [(number, total) for _, number, total in steps.calls] == [(1, 5), (3, 5), (5, 5)]
    assert steps.calls[-1][0] == "measuring costs of tflite-float32 on litert"
