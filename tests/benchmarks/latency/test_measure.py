# SPDX-License-Identifier: Apache-2.0
"""Every artifact of the default classifier measured for real, and what happens when one of them does not go along."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from edgeferry.benchmarks.latency import interleave
from edgeferry.benchmarks.latency.entries import Asked, baseline_named, entries_of
from edgeferry.benchmarks.latency.interleave import Times
from edgeferry.benchmarks.latency.measure import Effort, _not_on_software, keep, measure
from edgeferry.benchmarks.latency.percentiles import samples_needed
from edgeferry.benchmarks.latency.records import (
    HISTORY,
    LATENCY,
    SCHEMA,
    Latencies,
    append_history,
    read_latencies,
    write_latencies,
)
from edgeferry.benchmarks.report.latency_text import latency_lines, percentile, row_of
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.target import choose

FORMATS: Final = ("keras", "onnx-float32", "tflite-float32", "tflite-int8")
SHORT: Final = Effort(launches=2, percentile=50)
LITERT: Final = ("tflite-float32", "litert")


def _quiet(_: str) -> None:
    return


def _measured(build: Path, *names: str, formats: tuple[str, ...] = FORMATS, **more: Any) -> Latencies:
    return measure(Asked(build, formats, choose(names), more.pop("baseline", None)), more.pop("effort", SHORT), _quiet)


@pytest.fixture
def own(exported_digits: Any, tmp_path: Path) -> Path:
    """Return a copy of the default classifier's artifacts, to be spoiled."""
    for name in (*FORMATS, "reference"):
        shutil.copytree(exported_digits.build / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def found(exported_digits: Any) -> Latencies:
    return _measured(exported_digits.build, "keras", "litert", "onnxruntime-cpu", "onnxruntime-cuda", "tflite-runtime")


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
def test_litert_is_faster_than_the_original_and_the_original_is_the_baseline(found: Latencies) -> None:
    assert found.baseline == "keras on keras"
    assert found.null is not None
    against = next(each for each in found.compared if (each.format, each.target) == LITERT)
    assert against.verdict == "faster"
    assert against.by == "CPU time"
    assert not [each for each in found.compared if each.target == "tflite-runtime"], "it was not timed in turns"


@pytest.mark.slow
def test_what_was_measured_is_written_and_read_back(found: Latencies, tmp_path: Path) -> None:
    write_latencies(found, tmp_path)
    assert read_latencies(tmp_path / LATENCY) == found
    append_history(found, tmp_path)
    append_history(found, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / HISTORY).read_text().splitlines()]
    assert [line["schema"] for line in lines] == [1, 1]
    assert {case["format"] for case in lines[0]["cases"]} == set(FORMATS)


@pytest.mark.slow
def test_what_is_written_follows_its_published_schema(found: Latencies, exported_digits: Any) -> None:
    with_costs = _measured(exported_digits.build, "litert", formats=("tflite-int8",), effort=replace(SHORT, costs=True))
    schema = json.loads((ROOT / "benchmarks" / "latency" / "latency.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    for run in (found, with_costs):
        told = json.loads(json.dumps(run.as_json()))
        assert [error.message for error in Draft202012Validator(schema).iter_errors(told)] == []
        told["cases"][0]["median"] = 1.0
        assert not Draft202012Validator(schema).is_valid(told)


def test_what_ran_on_software_once_is_not_asked_with_every_other_artifact(exported_digits: Any) -> None:
    asked = Asked(exported_digits.build, (), choose(("chromium-webgl", "node-wasm")))
    entries = list(entries_of(asked))
    first = next(entry for entry in entries if entry.target.name == "chromium-webgl")
    times = {entry.name: Times() for entry in entries}
    _not_on_software(first, entries, times)
    assert all(each.is_going_on for each in times.values())
    times[first.name].environment = {"software_gpu": True}
    _not_on_software(first, entries, times)
    assert {entry.target.name for entry in entries if times[entry.name].is_going_on} == {"node-wasm"}


@pytest.mark.parametrize(("wanted", "launches"), [(Effort(), 3), (Effort(launches=2), 2), (Effort(percentile=99), 3)])
def test_what_times_itself_has_as_many_samples_in_fewer_launches(wanted: Effort, launches: int) -> None:
    assert wanted.blocks[0] == launches
    assert wanted.blocks[0] * wanted.blocks[1] >= samples_needed(wanted.percentile)


@pytest.mark.slow
def test_the_command_writes_json_and_markdown_where_it_is_told_to(exported_digits: Any, digits: Any, tmp_path: Path) -> None:
    own = tmp_path / "build"
    shutil.copytree(exported_digits.build, own / digits.name)
    command = [sys.executable, "-m", "edgeferry", "bench", str(digits.path), "--build", str(own), "--target", "litert"]
    more = ["--format", "tflite-int8", "--launches", "2", "--percentile", "50", "--json", str(tmp_path / "a.json")]
    done = subprocess.run([*command, *more, "--md", str(tmp_path / "a.md")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a.json").read_bytes() == (own / digits.name / LATENCY).read_bytes()
    assert "### What else it costs" in (tmp_path / "a.md").read_text()


@pytest.mark.slow
def test_the_table_says_what_was_measured_and_what_not(found: Latencies) -> None:
    rows = {row[:2]: row for row in (row_of(case, found) for case in found.cases)}
    assert rows["keras", "keras"][4] == "baseline"
    assert rows[LITERT][6] == "faster"
    lines = "\n".join(latency_lines(found))
    assert "beside itself" in lines
    assert "not claimed" in lines


def test_no_percentile_is_said_without_its_samples() -> None:
    case = replace(_case(), wall_ms=[[1.0] * 32, [1.1] * 31])
    assert percentile(case, 90) == "needs 64, has 63"
    assert percentile(replace(case, wall_ms=[[1.0] * 64]), 90) == "1.00 ms"
    assert percentile(replace(case, calls=9, wall_ms=[[1.0] * 64]), 90) == "-"


def _case() -> Any:
    from edgeferry.benchmarks.latency.records import Case

    return Case("tflite-float32", "litert", "measured", "")


@pytest.mark.parametrize(("wanted", "rounds"), [(50, 20), (90, 20), (99, 133)])
def test_there_are_as_many_rounds_as_the_percentile_needs(wanted: float, rounds: int) -> None:
    assert Effort(percentile=wanted).rounds == rounds


class _Killing(Child):
    """A child whose process is killed in the eighth turn of tflite-int8."""

    turns = 0

    def call(self, function: Any, *arguments: Any, log: Path, timeout_s: float = 60) -> Any:
        self.turns += function is interleave.turn and "tflite-int8" in str(log)
        if self.turns == 8 and self._process is not None and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGKILL)
        return super().call(function, *arguments, log=log, timeout_s=timeout_s)


def test_one_that_dies_keeps_its_samples_and_the_others_go_on(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleave, "Child", _Killing)
    found = _measured(own, "litert")
    dead, alive = (next(case for case in found.cases if case.format == form) for form in ("tflite-int8", "tflite-float32"))
    assert dead.state == "failed"
    assert "in round 8 of launch 1: the process was killed by SIGKILL" in dead.reason
    assert [len(launch) for launch in dead.wall_ms] == [7]
    assert alive.state == "measured"
    assert [len(launch) for launch in alive.wall_ms] == [20, 20]


def test_an_artifact_that_changed_since_is_refused(own: Path) -> None:
    file = own / "tflite-float32" / "model.tflite"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(EdgeError, match=r"model.tflite.*make export-all"):
        _measured(own, "litert")


def test_answers_that_are_wrong_while_timed_fail(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleave, "_last_answer", partial(np.zeros, (1, 10), np.float32))
    found = _measured(own, "litert", formats=("tflite-float32",))
    assert [case.state for case in found.cases] == ["failed"]
    assert "while it was timed, a probability differed from the Keras model's by" in found.cases[0].reason


def test_answers_that_are_no_numbers_while_timed_fail(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleave, "_last_answer", partial(np.full, (1, 10), np.nan))
    found = _measured(own, "litert", formats=("tflite-float32",))
    assert [case.state for case in found.cases] == ["failed"]


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"effort": Effort(launches=1)}, "makes no interval"),
        ({"effort": Effort(percentile=100)}, "between 0 and 100"),
        ({"effort": Effort(threads=(0,))}, "0 threads"),
        (
            {"baseline": ("tflite-int8", "litertt")},
            r"tflite-int8@litertt is not timed in turns here; there are .*@litert",
        ),
        ({"formats": ("nothing",)}, "manifest"),
    ],
)
def test_what_makes_no_measurement_is_refused(more: dict[str, Any], told: str, exported_digits: Any) -> None:
    with pytest.raises(EdgeError, match=told):
        _measured(exported_digits.build, "litert", **{"formats": ("tflite-int8",)} | more)


def test_a_baseline_is_named_by_format_and_target() -> None:
    assert baseline_named("tflite-int8@litert") == ("tflite-int8", "litert")
    assert baseline_named(None) is None
    for wrong in ("litert", "@litert", "keras@"):
        with pytest.raises(EdgeError, match="FORMAT@TARGET"):
            baseline_named(wrong)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"schema": 99}', "has schema 99"),
        (f'{{"schema": {SCHEMA}, "cases": [', "cannot be read"),
        (f'{{"schema": {SCHEMA}}}', "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_a_file_that_holds_no_latencies_is_refused(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / LATENCY).write_text(text)
    with pytest.raises(EdgeError, match=told):
        read_latencies(tmp_path / LATENCY)


def test_a_file_that_is_not_there_is_told_with_what_writes_it(tmp_path: Path) -> None:
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
    asked = subprocess.Popen([*command, "--percentile", "99.9"], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert asked.stderr is not None
    assert "launch 1 of 5" in asked.stderr.readline()
    time.sleep(8)
    asked.send_signal(signal.SIGINT)
    _, said = asked.communicate(timeout=60)
    assert asked.returncode == 130
    assert "interrupted; what was measured is kept" in said
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
    told = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(told | {"source_sha256": "0" * 64}))
    with pytest.raises(EdgeError, match="stale"):
        _measured(own, "litert")


def test_the_baseline_is_the_case_that_was_timed_whatever_the_order_of_threads(exported_digits: Any) -> None:
    found = _measured(
        exported_digits.build,
        "litert",
        formats=("tflite-int8",),
        effort=Effort(2, 50, (2, 1)),
        baseline=("tflite-int8", "litert"),
    )
    assert found.baseline == "tflite-int8 on litert, 2 threads"
    assert {case.name: row_of(case, found)[4] for case in found.cases}[found.baseline] == "baseline"
    assert [(each.threads, each.by) for each in found.compared] == [(1, "wall time")]


@pytest.mark.parametrize("spoilt", ["baseline", "other"])
def test_nothing_is_compared_with_answers_that_were_wrong(own: Path, spoilt: str) -> None:
    formats = ("tflite-float32", "tflite-int8")
    wrong = formats[spoilt == "other"]
    manifest = own / wrong / "manifest.json"
    told = json.loads(manifest.read_text())
    told["tolerance"]["max_difference"] = 0.0
    manifest.write_text(json.dumps(told))
    found = _measured(own, "litert", formats=formats, baseline=("tflite-float32", "litert"))
    assert {case.format: case.state for case in found.cases}[wrong] == "failed"
    assert found.compared == []


def test_bench_says_what_to_do_where_nothing_was_exported(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_latency.py", "--benchmark-only", "-q"]
    done = subprocess.run(
        command, cwd=ROOT, env=os.environ | {"EDGEFERRY_BUILD": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "holds no reference; export the model first with `make export-all`" in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.slow
def test_bench_tells_each_case_to_pytest_benchmark_as_it_was_measured(own: Path, digits: Any, tmp_path: Path) -> None:
    build = tmp_path / "all" / digits.name
    shutil.copytree(own, build, ignore=shutil.ignore_patterns("all"))
    where = {
        "EDGEFERRY_BUILD": str(build.parent),
        "EDGEFERRY_MODEL": str(digits.path),
        "EDGEFERRY_TARGETS": "litert",
    }
    command = [sys.executable, "-m", "pytest", "benchmarks/bench_latency.py", "--benchmark-only", "-q"]
    done = subprocess.run(
        [*command, f"--benchmark-json={tmp_path / 'told.json'}"],
        cwd=ROOT,
        env=os.environ | where,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = {each["name"]: each for each in json.loads((tmp_path / "told.json").read_text())["benchmarks"]}
    for case in read_latencies(build / LATENCY).cases:
        row = told[f"bench_latency[{case.format}@{case.target}]"]
        assert row["stats"]["median"] * 1000 == pytest.approx(np.median(case.samples_ms), rel=1e-6)
        assert row["stats"]["rounds"] == len(case.samples_ms)
        assert row["extra_info"]["environment"] == case.environment
