# SPDX-License-Identifier: Apache-2.0
"""A ratio of paired times: it finds what is there, and claims nothing of a thing beside itself."""

import numpy as np
import pytest

from edgeferry.benchmarks.latency.ratio import Ratio, is_regression, paired_ratio, verdict

LAUNCHES, ROUNDS = 5, 30


def _busy(factor: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return times on a machine whose speed wanders by half, with noise and outliers of each side's own."""
    draw = np.random.default_rng(seed)
    machine = np.exp(np.cumsum(draw.normal(0, 0.05, LAUNCHES * ROUNDS)).reshape(LAUNCHES, ROUNDS))
    launch = [draw.normal(1, 0.01, (LAUNCHES, 1)) for _ in range(2)]
    own = [draw.lognormal(0, 0.03, machine.shape) * np.where(draw.random(machine.shape) < 0.05, 3, 1) for _ in range(2)]
    return machine * launch[0] * own[0], factor * machine * launch[1] * own[1]


def test_the_ratio_is_found_on_a_machine_whose_speed_wanders() -> None:
    found = paired_ratio(*_busy(1.2, 1))
    assert found.low < 1.2 < found.high
    assert found.high / found.low < 1.05


def test_a_thing_beside_itself_is_claimed_to_differ_in_at_most_five_of_a_hundred_runs() -> None:
    verdicts = [verdict(paired_ratio(*_busy(1, seed)), paired_ratio(*_busy(1, 1000 + seed))) for seed in range(100)]
    assert sum(each != "cannot tell" for each in verdicts) <= 5


@pytest.mark.parametrize(("factor", "expected"), [(1.2, "slower"), (1 / 1.2, "faster")])
def test_a_fifth_more_or_less_is_claimed(factor: float, expected: str) -> None:
    assert verdict(paired_ratio(*_busy(factor, 2)), paired_ratio(*_busy(1, 3))) == expected


def test_what_the_null_comparison_reaches_is_not_claimed() -> None:
    assert verdict(Ratio(1.05, 1.03, 1.07), Ratio(1.0, 0.99, 1.01)) == "slower"
    assert verdict(Ratio(1.05, 1.03, 1.07), Ratio(1.0, 0.94, 1.02)) == "cannot tell"


def test_a_regression_lies_wholly_beyond_the_minimum_effect() -> None:
    null = Ratio(1.0, 0.99, 1.01)
    assert is_regression(Ratio(1.08, 1.06, 1.1), null, 0.05)
    assert not is_regression(Ratio(1.08, 1.04, 1.1), null, 0.05)
    assert not is_regression(Ratio(0.8, 0.7, 0.9), null, 0.05)


def test_what_are_no_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        paired_ratio(np.ones((2, 3)), np.ones((2, 4)))


def test_a_time_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="not positive"):
        paired_ratio(np.ones((2, 3)), np.zeros((2, 3)))
