# SPDX-License-Identifier: Apache-2.0
"""The warnings about random times, good ones and spoiled ones; false alarms are counted too."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.latency.machine import State
from edgeferry.benchmarks.latency.records import Case
from edgeferry.benchmarks.latency.samples import drift, launches_apart, two_modes
from edgeferry.benchmarks.latency.warnings import grade, timing_warnings
from edgeferry.targets.host.nvidia import Health

pytestmark = pytest.mark.slow

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
    case = Case("tflite-float32", "litert", "measured", "", interleaved=True, wall_ms=times.tolist(), cpu_ms=times.tolist())
    return replace(case, **more)


def _seen(case: Case, before: State = QUIET, after: State = LATER, **machine: Any) -> list[str]:
    return [warning.seen for warning in timing_warnings(case, before, after, MACHINE | machine)]


def test_sound_times_on_a_quiet_machine_are_good() -> None:
    case = _case(_sound(1))
    assert _seen(case) == []
    assert grade(case, []) == "good"


@pytest.mark.parametrize("rounds", [22, 40, 220])
def test_false_alarms_are_rare(rounds: int) -> None:
    alarms = sum(bool(_seen(_case(_sound(seed, rounds)))) for seed in range(200))
    assert alarms <= 10


def _on_gpu(before: Health, after: Health) -> list[str]:
    case = _case(_sound(1), cpu_ms=[], environment={"gpu": "NVIDIA Some"})
    return _seen(case, replace(QUIET, gpu=before), replace(LATER, gpu=after))


def test_a_gpu_that_others_use_is_a_warning() -> None:
    assert any("busy 40 %" in what for what in _on_gpu(Health(50, 0.4, 0.0), Health(60, 0.9, 0.0)))


def test_a_gpu_that_slowed_itself_down_is_a_warning() -> None:
    assert any("slowed itself down for 1.5 s" in what for what in _on_gpu(Health(50, 0.0, 2.0), Health(90, 0.9, 3.5)))


def test_a_hot_gpu_is_a_warning() -> None:
    assert any("at 84 degrees" in what for what in _on_gpu(Health(50, 0.0, None), Health(84, 0.9, None)))


def test_a_gpu_at_a_low_clock_is_a_warning() -> None:
    slow, fast = (_case(_sound(1), environment={"gpu": "N", "clock_mhz": mhz, "most_clock_mhz": 1980}) for mhz in (345, 1965))
    assert any("at 345 of 1980 MHz" in what for what in _seen(slow))
    assert _seen(fast) == []


def test_a_gpu_at_rest_before_the_run_is_good() -> None:
    assert _on_gpu(Health(50, 0.0, 2.0), Health(60, 0.9, 2.0)) == []


def test_a_busy_gpu_does_not_affect_what_ran_on_the_processor() -> None:
    busy = replace(QUIET, gpu=Health(90, 0.9, 2.0))
    assert _seen(_case(_sound(1)), busy, replace(LATER, gpu=Health(90, 0.9, 3.0))) == []


def test_a_drift_is_a_warning() -> None:
    times = _sound(2) * np.linspace(1, 1.1, ROUNDS)
    assert drift(times.tolist()) == pytest.approx(0.09, abs=0.03)
    assert any("became slower by" in what for what in _seen(_case(times)))


def test_launches_that_differ_are_a_warning() -> None:
    times = _sound(3) * np.array([[1.0], [1.0], [1.15]])
    assert launches_apart(times.tolist()) == pytest.approx(0.15, abs=0.03)
    assert any("launches differ" in what for what in _seen(_case(times)))


def test_two_modes_are_found() -> None:
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
def test_one_mode_of_any_form_is_not_taken_for_two(draw: Callable[..., Any], count: int) -> None:
    alarms = sum(two_modes(draw(np.random.default_rng(seed), count).tolist()) is not None for seed in range(200))
    assert alarms <= 10


@pytest.mark.parametrize(
    ("how", "text", "expected"),
    [
        ({"before": replace(QUIET, load=3.0)}, "load average 3.0 on 4 cores", "fair"),
        ({"after": replace(LATER, stolen_s=13.0)}, "gave 10 % of the time", "poor"),
        ({"after": replace(LATER, throttled=2)}, "throttled 2 times", "poor"),
        ({"after": replace(LATER, temperature_c=97.0)}, "at 97 degrees", "fair"),
        ({"after": replace(LATER, frequency_mhz=1300.0)}, "2600 to 1300 MHz", "good"),
        ({"after": replace(LATER, on_battery=True)}, "battery", "fair"),
        ({"governor": "powersave"}, "governor is powersave", "fair"),
        ({"virtual": True}, "virtual machine", "good"),
    ],
)
def test_the_state_of_the_machine_is_a_warning(how: dict[str, Any], text: str, expected: str) -> None:
    case = _case(_sound(1))
    states = {name: how.pop(name, state) for name, state in {"before": QUIET, "after": LATER}.items()}
    found = timing_warnings(case, states["before"], states["after"], MACHINE | how)
    assert [text in warning.seen for warning in found] == [True]
    assert found[0].advice
    assert found[0].text.startswith(found[0].seen)
    assert found[0].text.endswith(found[0].advice)
    assert grade(case, found) == expected


@pytest.mark.parametrize(
    ("more", "text", "expected"),
    [
        ({"threads": 8}, "8 threads share 4 cores", "poor"),
        ({"environment": {"nodes": 16, "delegated_nodes": 13, "delegate": "XNNPACK (1 part)"}}, "XNNPACK took 13 of 16", "good"),
        ({"cpu_ms": (_sound(1) * 0.8).tolist()}, "scheduled 80 % of the time", "fair"),
        ({"cpu_ms": (_sound(1) * 0.3).tolist()}, "scheduled 30 % of the time", "poor"),
        ({"cpu_ms": (_sound(1) * 1.9).tolist()}, "used 1.9 cores with --threads 1", "fair"),
        ({"interleaved": False, "cpu_ms": []}, "measures itself", "good"),
        ({"calls": 40}, "mean of several calls, 40", "good"),
        ({"wall_ms": [[5.0, 5.1, 5.2]] * 3, "cpu_ms": []}, "only 9 samples", "poor"),
        ({"wall_ms": [[5.0, -1.0] * 20] * 3, "cpu_ms": []}, "not positive", "poor"),
        (
            {"wall_ms": (5 * np.random.default_rng(0).lognormal(0, 0.4, (3, 40))).tolist(), "cpu_ms": []},
            "interquartile range",
            "fair",
        ),
    ],
)
def test_what_the_case_shows_is_a_warning(more: dict[str, Any], text: str, expected: str) -> None:
    case = _case(_sound(1), **more)
    found = timing_warnings(case, QUIET, LATER, MACHINE)
    assert [warning.seen for warning in found if text in warning.seen]
    assert grade(case, found) == expected


def test_more_threads_than_a_container_s_cores_are_a_warning() -> None:
    assert any("share 1.5 cores" in what for what in _seen(_case(_sound(1), threads=2), cpu_quota=1.5))
