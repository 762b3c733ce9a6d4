# SPDX-License-Identifier: Apache-2.0
"""A ratio of paired times: real differences are found, and none is reported between a thing and itself."""

import numpy as np
import pytest

from edgeferry.benchmarks.latency.ratio import (
    Ratio,
    interval_text,
    is_regression,
    noise_text,
    paired_ratio,
    speed_text,
    speed_verdict,
)

pytestmark = pytest.mark.slow

LAUNCHES, ROUNDS = 5, 30


def _busy(factor: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return times on a machine whose speed wanders by half, each side with noise and outliers of its own."""
    draw = np.random.default_rng(seed)
    machine = np.exp(np.cumsum(draw.normal(0, 0.05, LAUNCHES * ROUNDS)).reshape(LAUNCHES, ROUNDS))
    launch = [draw.normal(1, 0.01, (LAUNCHES, 1)) for _ in range(2)]
    own = [draw.lognormal(0, 0.03, machine.shape) * np.where(draw.random(machine.shape) < 0.05, 3, 1) for _ in range(2)]
    return machine * launch[0] * own[0], factor * machine * launch[1] * own[1]


def test_the_ratio_is_found_on_a_machine_whose_speed_wanders() -> None:
    found = paired_ratio(*_busy(1.2, 1))
    assert found.low < 1.2 < found.high
    assert found.high / found.low < 1.05


def test_a_difference_from_itself_is_reported_in_at_most_five_of_a_hundred_runs() -> None:
    verdicts = [speed_verdict(paired_ratio(*_busy(1, seed)), paired_ratio(*_busy(1, 1000 + seed))) for seed in range(100)]
    assert sum(each != "inconclusive" for each in verdicts) <= 5


@pytest.mark.parametrize(("factor", "expected"), [(1.2, "slower"), (1 / 1.2, "faster")])
def test_a_fifth_more_or_less_is_reported(factor: float, expected: str) -> None:
    assert speed_verdict(paired_ratio(*_busy(factor, 2)), paired_ratio(*_busy(1, 3))) == expected


def test_a_ratio_within_the_noise_floor_is_inconclusive() -> None:
    assert speed_verdict(Ratio(1.05, 1.03, 1.07), Ratio(1.0, 0.99, 1.01)) == "slower"
    assert speed_verdict(Ratio(1.05, 1.03, 1.07), Ratio(1.0, 0.94, 1.02)) == "inconclusive"


def test_a_regression_lies_wholly_beyond_the_minimum_effect() -> None:
    null = Ratio(1.0, 0.99, 1.01)
    assert is_regression(Ratio(1.08, 1.06, 1.1), null, 0.05)
    assert not is_regression(Ratio(1.08, 1.04, 1.1), null, 0.05)
    assert not is_regression(Ratio(0.8, 0.7, 0.9), null, 0.05)


def test_unpaired_times_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        paired_ratio(np.ones((2, 3)), np.ones((2, 4)))


def test_a_time_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="not positive"):
        paired_ratio(np.ones((2, 3)), np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("ratio", "speed", "interval"),
    [
        (Ratio(0.0151, 0.0145, 0.0156), "66x faster", "[64x, 69x]"),
        (Ratio(0.31, 0.3, 0.32), "3.2x faster", "[3.1x, 3.3x]"),
        (Ratio(1.25, 1.2, 1.3), "1.250x slower", "[1.200x, 1.300x]"),
        (Ratio(0.98, 0.95, 1.03), "1.020x faster", "[0.971x, 1.053x]"),
    ],
)
def test_a_ratio_reads_as_a_speed_up_or_slow_down_with_its_interval(ratio: Ratio, speed: str, interval: str) -> None:
    assert (speed_text(ratio), interval_text(ratio)) == (speed, interval)


@pytest.mark.parametrize(("null", "expected"), [(Ratio(1.0, 0.9, 1.19), "19 %"), (Ratio(1.0, 0.995, 1.004), "0.5 %")])
def test_the_noise_floor_reads_as_a_percentage(null: Ratio, expected: str) -> None:
    assert noise_text(null) == expected
