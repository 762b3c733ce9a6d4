# SPDX-License-Identifier: Apache-2.0
"""Two runs compared: what changed relative to an unchanged baseline, and what cannot be compared at all."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.latency.compare_runs import RunComparison, compare_runs, lines_of
from edgeferry.benchmarks.latency.ratio import Ratio
from edgeferry.benchmarks.latency.records import LATENCY, BaselineRatio, Case, Latencies, write_latencies
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow

ENVIRONMENT: Final = {"runtime": "ai-edge-litert", "version": "2.3.0", "threads": 1, "delegate": "XNNPACK (1 part)"}
TIMES: Final = [[2.0] * 40] * 3
BASE: Final = Case("keras", "keras", "measured", "", interleaved=True, artifact_sha256="a" * 64, wall_ms=TIMES, environment={})
OURS: Final = replace(BASE, format="tflite-int8", target="litert", artifact_sha256="b" * 64, environment=ENVIRONMENT)
BROWSER: Final = replace(BASE, format="tfjs-float32", target="chromium-wasm", interleaved=False)
MACHINE: Final = {"processor": "Some Processor", "cores": 2, "governor": "performance"}
OLD: Final = Latencies(
    model="made up",
    source_sha256="c" * 64,
    created="2026-01-02T03:04:05+00:00",
    machine=MACHINE,
    launches=3,
    rounds=40,
    cases=[BASE, OURS, BROWSER],
    baseline="keras on keras",
    null=Ratio(1.0, 0.99, 1.01),
    compared=[BaselineRatio("tflite-int8", "litert", 1, Ratio(0.20, 0.198, 0.202), "CPU time", "faster")],
)
SLOWER: Final = [replace(OLD.compared[0], ratio=Ratio(0.24, 0.238, 0.242))]


def _compared(folder: Path, new: Latencies, old: Latencies = OLD) -> RunComparison:
    for name, run in (("old", old), ("new", new)):
        (folder / name).mkdir()
        write_latencies(run, folder / name)
    return compare_runs(folder / "old" / LATENCY, folder / "new" / LATENCY, 0.05)


def test_an_artifact_that_takes_longer_relative_to_the_same_baseline_is_a_regression(tmp_path: Path) -> None:
    found = _compared(tmp_path, replace(OLD, compared=SLOWER))
    change = next(change for change in found.changes if change.name == "tflite-int8 on litert")
    assert found.is_regression
    assert change.verdict == "slower"
    assert change.ratio is not None
    assert change.ratio.ratio == pytest.approx(1.2)
    assert 1.18 < change.ratio.low < 1.2 < change.ratio.high < 1.22


def test_the_same_ratio_is_no_change_however_the_machine_was(tmp_path: Path) -> None:
    slow_machine = [replace(case, wall_ms=[[4.0] * 40] * 3) for case in OLD.cases]
    found = _compared(tmp_path, replace(OLD, cases=slow_machine))
    assert not found.is_regression
    assert [change.verdict for change in found.changes if change.ratio] == ["inconclusive"]


def test_a_change_within_the_noise_floor_is_no_regression(tmp_path: Path) -> None:
    wide = Ratio(1.0, 0.8, 1.25)
    found = _compared(tmp_path, replace(OLD, compared=SLOWER, null=wide))
    assert not found.is_regression
    assert found.null.high > 1.25


def test_a_target_that_measures_itself_is_not_compared(tmp_path: Path) -> None:
    lines = list(lines_of(_compared(tmp_path, OLD)))
    assert "not compared: tfjs-float32 on chromium-wasm: it was not interleaved with the baseline" in lines


def test_another_version_of_the_runtime_is_noted_and_compared(tmp_path: Path) -> None:
    later = replace(OURS, environment=ENVIRONMENT | {"version": "2.4.0"})
    found = _compared(tmp_path, replace(OLD, cases=[BASE, later], compared=SLOWER))
    assert found.is_regression
    assert any("ai-edge-litert 2.3.0 -> 2.4.0" in note for note in found.notes)
    assert any("only in the old run: tfjs-float32 on chromium-wasm" in note for note in found.notes)


@pytest.mark.parametrize(
    ("environment", "difference"),
    [({"delegate": "none"}, r"delegate (XNNPACK, none)"), ({"threads": 2}, r"threads (1, 2)"), ({"runtime": "x"}, "runtime")],
)
def test_a_case_in_another_environment_is_not_compared(environment: dict[str, Any], difference: str, tmp_path: Path) -> None:
    other = replace(OURS, environment=ENVIRONMENT | environment)
    found = _compared(tmp_path, replace(OLD, cases=[BASE, other], compared=SLOWER))
    assert not found.is_compared
    assert any(difference in change.reason for change in found.changes)


def test_the_number_of_delegated_parts_does_not_prevent_a_comparison(tmp_path: Path) -> None:
    other = replace(OURS, environment=ENVIRONMENT | {"delegate": "XNNPACK (3 parts)"})
    assert _compared(tmp_path, replace(OLD, cases=[BASE, other], compared=SLOWER)).is_regression


@pytest.mark.parametrize(
    ("other", "value"),
    [
        ({"machine": MACHINE | {"governor": "powersave"}}, r"governor \(performance, powersave\)"),
        ({"machine": MACHINE | {"processor": "Another"}}, "processor"),
        ({"model": "another"}, "made up, .* another"),
        ({"baseline": "onnx-float32 on onnxruntime-cpu"}, "--baseline"),
        ({"cases": [replace(BASE, artifact_sha256="d" * 64), OURS]}, "different artifact"),
        ({"cases": [replace(BASE, environment={"version": "9"}), OURS]}, "keras on keras differs in version"),
        ({"cases": [OURS]}, "no case of its own baseline"),
        ({"null": None}, "no comparison of its baseline with itself"),
    ],
)
def test_runs_that_differ_in_what_matters_are_refused_with_the_field(other: dict[str, Any], value: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=value, check=lambda error: error.code == "EF-runs-not-comparable"):
        _compared(tmp_path, replace(OLD, **other))


@pytest.mark.parametrize(("compared", "status"), [(OLD.compared, 0), (SLOWER, 1), ([], 2)])
def test_the_exit_status_is_for_a_ci_job(compared: list[BaselineRatio], status: int, tmp_path: Path) -> None:
    _compared(tmp_path, replace(OLD, compared=compared))
    command = [sys.executable, "-m", "edgeferry", "compare", str(tmp_path / "old" / LATENCY), str(tmp_path / "new" / LATENCY)]
    done = subprocess.run([*command, "--json", str(tmp_path / "all.json")], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert (tmp_path / "all.json").is_file()


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    write_latencies(OLD, tmp_path)
    with pytest.raises(EdgeError, match="Is a directory"):
        compare_runs(tmp_path / LATENCY, tmp_path, 0.05)


@pytest.mark.parametrize("option", [("--rounds", "9"), ("--launches", "5"), ("--target", "litert")], ids=lambda each: each[0])
def test_timing_options_are_refused_for_runs_that_are_measured_already(option: tuple[str, str], tmp_path: Path) -> None:
    old = tmp_path / "old.json"
    old.write_text("{}")
    command = [sys.executable, "-m", "edgeferry", "compare", str(old), str(old), *option]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"edgeferry: {option[0]} ")
    assert done.stderr.endswith("[EF-option-without-effect]\n")
