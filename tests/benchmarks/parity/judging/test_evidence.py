# SPDX-License-Identifier: Apache-2.0
"""Exact bounds, held to values that were published or computed by scipy.stats."""

import pytest

from edgeferry.benchmarks.parity.judging.evidence import at_least, at_most, images_needed, loss_interval
from edgeferry.models.binomial import sign_test
from edgeferry.targets.timing import ENOUGH


@pytest.mark.parametrize(("images", "shown"), [(220, 0.98648), (299, 0.99003), (360, 0.99171), (1000, 0.99701)])
def test_no_difference_shows_what_the_rule_of_three_says(images: int, shown: float) -> None:
    assert at_least(images, images) == pytest.approx(shown, abs=5e-5)
    assert at_least(images, images) == pytest.approx(0.05 ** (1 / images))


@pytest.mark.parametrize(("count", "images"), [(0, 10), (1, 10), (9, 10), (347, 360), (5, 1000)])
def test_bounds_are_those_of_clopper_and_pearson(count: int, images: int) -> None:
    from scipy.stats import binomtest

    exact = binomtest(count, images).proportion_ci(0.90, "exact")
    assert (at_least(count, images), at_most(count, images)) == pytest.approx((exact.low, exact.high))


@pytest.mark.parametrize(("worse", "better"), [(0, 0), (1, 0), (5, 0), (8, 3), (3, 8)])
def test_mcnemar_s_test_is_the_exact_binomial_one(worse: int, better: int) -> None:
    from scipy.stats import binomtest

    expected = binomtest(worse, worse + better, 0.5, "greater").pvalue if worse + better else 1
    assert sign_test(worse, better) == pytest.approx(expected)


def test_five_discordant_images_are_needed_to_show_a_loss_at_five_percent() -> None:
    assert sign_test(4, 0) > 0.05 >= sign_test(5, 0)


@pytest.mark.parametrize(("rate", "images"), [(0.0, 29), (0.02, 46), (0.05, 116), (0.1, None), (0.5, None)])
def test_how_many_images_would_show_enough(rate: float, images: int | None) -> None:
    assert images_needed(rate) == images


def test_a_software_rendered_gpu_runs_as_many_images_as_a_verdict_needs() -> None:
    assert images_needed(0) == ENOUGH


def test_the_interval_of_a_loss_holds_what_was_seen_and_shrinks_with_images() -> None:
    low, high = loss_interval(6, 2, 100)
    assert low < 0.04 < high
    assert loss_interval(60, 20, 1000)[0] > low
    assert loss_interval(0, 0, 100) == pytest.approx((0, 0.0295), abs=1e-4)
