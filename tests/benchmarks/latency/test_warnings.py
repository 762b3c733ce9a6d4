# SPDX-License-Identifier: Apache-2.0
"""What is told of times drawn at random, sound ones and spoiled ones: the false alarms are counted too."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.latency.machine import State
from edgeferry.benchmarks.latency.records import Case
from edgeferry.benchmarks.latency.warnings import doubts, drift, grade, launches_apart, two_modes
from edgeferry.targets.host.nvidia import Health

LAUNCHES: Final = 3
ROUNDS: Final = 40
QUIET: Final = State(0.0, 0.1, 100.0, 900.0, 1.0, 2600.0, 50.0, 0, None)
LATER: Final = replace(QUIET, time_s=60.0, busy_s=130.0, idle_s=990.0)
MACHINE: Final[dict[str, Any]] = {"governor": "performance", "virtual": False, "cores": 4, "cpu_quota": None}


def _sound(seed: int, rounds: int = ROUNDS) -> "np.ndarray[Any, Any]":
    """Return times with 3 % of noise, skewed, and one in a hundred far off: [launches, rounds]."""
    draw = np.random.default_rng(seed)
    times = 5 * draw.lognormal(0, 0.03, (LAUNCHES, rounds))
    return np.where(draw.random(times.shape) < 0.01, 2 * times, times)


def _case(times: "np.ndarray[Any, Any]", **more: Any) -> Case:
    case = Case("tflite-float32", "litert", "measured", "", in_turns=True, wall_ms=times.tolist(), cpu_ms=times.tolist())
    return replace(case, **more)


def _told(case: Case, before: State = QUIET, after: State = LATER, **machine: Any) -> list[str]:
    return [notice.what for notice in doubts(case, before, after, MACHINE | machine)]


def test_sound_times_on_a_quiet_machine_are_good() -> None:
    case = _case(_sound(1))
    assert _told(case) == []
    assert grade(case, []) == "good"


@pytest.mark.parametrize("rounds", [22, 40, 220])
def test_false_alarms_are_rare(rounds: int) -> None:
    alarms = sum(bool(_told(_case(_sound(seed, rounds)))) for seed in range(200))
    assert alarms <= 10


def _on_gpu(before: Health, after: Health) -> list[str]:
    case = _case(_sound(1), cpu_ms=[], environment={"gpu": "NVIDIA Some"})
    return _told(case, replace(QUIET, gpu=before), replace(LATER, gpu=after))


def test_a_gpu_that_others_use_is_told() -> None:
    assert any("busy for 40 %" in what for what in _on_gpu(Health(50, 0.4, 0.0), Health(60, 0.9, 0.0)))


def test_a_gpu_that_slowed_itself_down_is_told() -> None:
    assert any("slowed itself down for 1.5 s" in what for what in _on_gpu(Health(50, 0.0, 2.0), Health(90, 0.9, 3.5)))


def test_a_hot_gpu_is_told() -> None:
    assert any("at 84 degrees" in what for what in _on_gpu(Health(50, 0.0, None), Health(84, 0.9, None)))


def test_a_gpu_that_clocked_itself_down_is_told() -> None:
    slow, fast = (_case(_sound(1), environment={"gpu": "N", "clock_mhz": mhz, "most_clock_mhz": 1980}) for mhz in (345, 1965))
    assert any("at 345 of 1980 MHz" in what for what in _told(slow))
    assert _told(fast) == []


def test_a_gpu_at_rest_before_the_run_is_good() -> None:
    assert _on_gpu(Health(50, 0.0, 2.0), Health(60, 0.9, 2.0)) == []


def test_a_busy_gpu_says_nothing_of_what_ran_on_the_processor() -> None:
    busy = replace(QUIET, gpu=Health(90, 0.9, 2.0))
    assert _told(_case(_sound(1)), busy, replace(LATER, gpu=Health(90, 0.9, 3.0))) == []


def test_a_drift_is_told() -> None:
    times = _sound(2) * np.linspace(1, 1.1, ROUNDS)
    assert drift(times.tolist()) == pytest.approx(0.09, abs=0.03)
    assert any("became slower by" in what for what in _told(_case(times)))


def test_launches_that_differ_are_told() -> None:
    times = _sound(3) * np.array([[1.0], [1.0], [1.15]])
    assert launches_apart(times.tolist()) == pytest.approx(0.15, abs=0.03)
    assert any("launches differ" in what for what in _told(_case(times)))


def test_two_groups_of_times_are_told() -> None:
    slow = np.random.default_rng(4).random((LAUNCHES, ROUNDS)) < 0.3
    found = two_modes((_sound(4) * np.where(slow, 1.2, 1)).ravel().tolist())
    assert found == pytest.approx((5, 6), rel=0.02)


@pytest.mark.parametrize(
    "draw",
    [
        lambda rng, count: rng.normal(5, 0.5, count),
        lambda rng, count: rng.lognormal(0, 0.3, count),
        lambda rng, count: rng.uniform(4, 6, count),
        lambda rng, count: 5 + rng.exponential(1, count),
    ],
)
@pytest.mark.parametrize("count", [60, 300])
def test_one_group_of_any_form_is_not_told_as_two(draw: Callable[..., Any], count: int) -> None:
    alarms = sum(two_modes(draw(np.random.default_rng(seed), count).tolist()) is not None for seed in range(200))
    assert alarms <= 10


@pytest.mark.parametrize(
    ("how", "told", "becomes"),
    [
        ({"before": replace(QUIET, load=3.0)}, "3.0 cores were busy", "fair"),
        ({"after": replace(LATER, stolen_s=13.0)}, "gave 10 % of the time", "poor"),
        ({"after": replace(LATER, throttled=2)}, "throttled 2 times", "poor"),
        ({"after": replace(LATER, temperature_c=97.0)}, "at 97 degrees", "fair"),
        ({"after": replace(LATER, frequency_mhz=1300.0)}, "2600 to 1300 MHz", "good"),
        ({"after": replace(LATER, on_battery=True)}, "battery", "fair"),
        ({"governor": "powersave"}, "governor is powersave", "fair"),
        ({"virtual": True}, "virtual machine", "good"),
    ],
)
def test_what_the_machine_does_is_told(how: dict[str, Any], told: str, becomes: str) -> None:
    case = _case(_sound(1))
    states = {name: how.pop(name, state) for name, state in {"before": QUIET, "after": LATER}.items()}
    found = doubts(case, states["before"], states["after"], MACHINE | how)
    assert [told in notice.what for notice in found] == [True]
    assert found[0].advice
    assert grade(case, found) == becomes


@pytest.mark.parametrize(
    ("more", "told", "becomes"),
    [
        ({"threads": 8}, "8 threads share 4 cores", "poor"),
        ({"environment": {"nodes": 16, "delegated_nodes": 13, "delegate": "XNNPACK (1 part)"}}, "XNNPACK took 13 of 16", "good"),
        ({"cpu_ms": (_sound(1) * 0.8).tolist()}, "for 80 % of the time", "fair"),
        ({"cpu_ms": (_sound(1) * 0.3).tolist()}, "for 30 % of the time", "poor"),
        ({"cpu_ms": (_sound(1) * 1.9).tolist()}, "used 1.9 processors, though 1 thread was", "fair"),
        ({"in_turns": False, "cpu_ms": []}, "times itself", "good"),
        ({"calls": 40}, "turn of several calls", "good"),
        ({"wall_ms": [[5.0, 5.1, 5.2]] * 3, "cpu_ms": []}, "only 9 samples", "poor"),
        ({"wall_ms": [[5.0, -1.0] * 20] * 3, "cpu_ms": []}, "not positive", "poor"),
        ({"wall_ms": (5 * np.random.default_rng(0).lognormal(0, 0.4, (3, 40))).tolist(), "cpu_ms": []}, "spreads over", "fair"),
    ],
)
def test_what_the_case_shows_is_told(more: dict[str, Any], told: str, becomes: str) -> None:
    case = _case(_sound(1), **more)
    found = doubts(case, QUIET, LATER, MACHINE)
    assert [notice.what for notice in found if told in notice.what]
    assert grade(case, found) == becomes


def test_a_container_with_half_a_core_is_told() -> None:
    assert any("share 1.5 cores" in what for what in _told(_case(_sound(1), threads=2), cpu_quota=1.5))
