# SPDX-License-Identifier: Apache-2.0
"""An artifact run without a pause, for real, in short minutes; and made-up series."""

import json
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.latency import sustain
from edgeferry.benchmarks.latency.entries import Selection
from edgeferry.benchmarks.latency.ratio import Ratio
from edgeferry.benchmarks.latency.sustained import CAUSES, SUSTAINED, Second, Sustained, lines_of, write_sustained
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job, Run, choose, targets

MINUTE_S: Final = 2.0


def _sustained(build: Path, minutes: int = 2, *targets: str) -> Sustained:
    selection = Selection(build, ("tflite-float32",), choose(targets or ("litert",)))
    return sustain.sustain(selection, minutes, 1, lambda *_: None, MINUTE_S)


def _series(*medians: float) -> list[Second]:
    draw = np.random.default_rng(0)
    return [Second(10, float(ms), float(ms)) for ms in medians * (1 + draw.normal(scale=0.01, size=len(medians)))]


@pytest.mark.alone
def test_every_second_and_minute_is_printed_and_written(exported_digits: Any, tmp_path: Path) -> None:
    found = _sustained(exported_digits.build)
    assert len(found.minutes) == 2
    assert all(minute.inferences_per_s > 100 for minute in found.minutes)
    assert set(found.last_to_first) == {"CPU time", "wall time"}
    assert found.problem == ""
    write_sustained(found, tmp_path)
    assert json.loads((tmp_path / SUSTAINED).read_text())["minutes"][1]["inferences_per_s"] == found.minutes[1].inferences_per_s
    assert sum(line.startswith("minute ") for line in lines_of(found)) == 2


@pytest.mark.parametrize(("factor", "verdict"), [(1.2, "slower"), (1.0, "inconclusive"), (1.03, "inconclusive"), (0.8, "faster")])
def test_the_last_minute_is_compared_with_the_first(factor: float, verdict: str) -> None:
    series = _series(*[1.0] * 60, *[factor] * 60)
    found = sustain._ratios(series[:60], series[60:])["wall time"]
    assert sustain._verdict(found) == verdict
    assert found.low < factor < found.high


@pytest.mark.slow
@pytest.mark.parametrize(("form", "target"), [("tflite-float32", "tflite-runtime"), ("tfjs-float32", "node-wasm")])
@pytest.mark.alone
def test_a_target_that_measures_itself_runs_all_minutes_in_one_job(form: str, target: str, exported_digits: Any) -> None:
    if why := targets()[target].missing():
        pytest.skip(why)
    selection = Selection(exported_digits.build, (form,), choose((target,)))
    found = sustain.sustain(selection, 2, 1, lambda *_: None, MINUTE_S)
    assert found.problem == ""
    assert len(found.minutes) >= 2
    assert all(minute.inferences_per_s > 10 for minute in found.minutes)
    assert set(found.last_to_first) == {"wall time"}
    assert not any("CPU" in line for line in lines_of(found))


@pytest.mark.parametrize(("later_ms", "minutes", "problem"), [((1.0,), 2, ""), ((1.0, 0.4, 0.2), 1, "1 of 2 minutes are full")])
def test_a_target_that_is_faster_than_its_estimate_runs_again(
    later_ms: tuple[float, ...], minutes: int, problem: str, exported_digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    speeds_ms = iter([2.0, 2.0, *later_ms, *later_ms[-1:] * 2])

    def run_ever_faster(_child: Child, _run: object, _target: str, job: Job, **_: object) -> Run:
        return Run(np.zeros((1, 10), np.float32), None, (next(speeds_ms),) * job.rounds, 1.0, 1.0)

    monkeypatch.setattr(Child, "call", run_ever_faster)
    monkeypatch.setattr(sustain, "_run_here", sustain._run_in_one_job)
    found = _sustained(exported_digits.build)
    assert len(found.minutes) == minutes
    assert problem in found.problem
    assert bool(found.problem) == bool(problem)


def test_inferences_are_counted_by_their_own_seconds_and_minutes() -> None:
    minutes = sustain.minutes_of([250.0] * 8 + [500.0] * 5, minute_s=2.0)
    assert [[second.inferences for second in minute] for minute in minutes] == [[3, 4], [2, 2]]
    assert minutes[1][1].wall_ms == 500
    assert minutes[0][0].cpu_ms is None


def test_an_inference_longer_than_a_second_is_a_second() -> None:
    minutes = sustain.minutes_of([1500.0] * 5, minute_s=3.0)
    assert [[second.inferences for second in minute] for minute in minutes] == [[1], [1, 1]]


def test_a_slow_down_names_likely_causes() -> None:
    found = Sustained("a", "b", 1, "0", {}, {}, [], [], {"wall time": Ratio(1.3, 1.2, 1.4)}, {"wall time": "slower"})
    assert any(line == f"likely cause: {CAUSES[None]}" for line in lines_of(found))


def test_times_that_a_board_kept_are_marked_as_old() -> None:
    found = Sustained("a", "b", 1, "0", {}, {"kept": True}, [], [], {}, {})
    assert any("EDGEFERRY_CORAL_REMEASURE=1" in line for line in lines_of(found))


def test_a_wave_within_the_minutes_is_no_change() -> None:
    wave = [1 + 0.2 * np.sin(at / 5) for at in range(120)]
    series = _series(*wave)
    assert sustain._verdict(sustain._ratios(series[:60], series[60:])["wall time"]) == "inconclusive"


@pytest.mark.alone
def test_one_that_dies_keeps_its_minutes(exported_digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = Child.call, [0]

    def call(child: Child, function: Any, *arguments: Any, **how: Any) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            raise ChildError("the process was killed by SIGKILL")
        return real(child, function, *arguments, **how)

    monkeypatch.setattr(Child, "call", call)
    found = _sustained(exported_digits.build)
    assert found.problem == "it ended in minute 2: the process was killed by SIGKILL"
    assert len(found.seconds) == 3
    assert "failed: it ended in minute 2: the process was killed by SIGKILL" in lines_of(found)


@pytest.mark.alone
def test_an_interruption_keeps_what_was_measured(exported_digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = Child.call, [0]

    def call(child: Child, function: Any, *arguments: Any, **how: Any) -> Any:
        calls[0] += 1
        if calls[0] == 5:
            raise KeyboardInterrupt
        return real(child, function, *arguments, **how)

    monkeypatch.setattr(Child, "call", call)
    found = _sustained(exported_digits.build)
    assert found.interrupted
    assert len(found.minutes) == 1
    assert found.last_to_first == {}


@pytest.mark.parametrize(
    ("minutes", "targets", "code"),
    [
        (1, ("litert",), "EF-minute-count"),
        (2, ("litert", "litert-builtin"), "EF-one-case-expected"),
        (2, ("onnxruntime-cpu",), "EF-one-case-expected"),
        (2, ("coral-cpu",), "EF-target-missing"),
    ],
)
def test_a_run_that_cannot_be_sustained_is_refused(
    minutes: int, targets: tuple[str, ...], code: str, exported_digits: Any
) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == code):
        _sustained(exported_digits.build, minutes, *targets)
