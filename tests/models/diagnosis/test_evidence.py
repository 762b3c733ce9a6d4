# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edgeferry.models.diagnosis.evidence import (
    CERTAIN,
    Trial,
    chance,
    clearly_better,
    far_above_chance,
    paired_test,
    sign_test,
    trial_of,
)


def trial(right: int, images: int = 100, log: float = -0.5) -> Trial:
    return Trial(np.arange(images) < right, np.full(images, log), right / images)


@pytest.mark.parametrize(
    ("wins", "losses", "p"), [(10, 0, 2**-10), (5, 5, 0.623046875), (0, 3, 1.0), (0, 0, 1.0), (9, 1, 11 / 1024)]
)
def test_the_sign_test_is_exact(wins: int, losses: int, p: float) -> None:
    assert sign_test(wins, losses) == pytest.approx(p)


def test_the_paired_test_agrees_with_scipy() -> None:
    from scipy.stats import norm

    rng = np.random.default_rng(1)
    one, other = rng.normal(-1, 1, 80), rng.normal(-1.2, 1, 80)
    expected = norm.sf((one - other).mean() / ((one - other).std() / 80**0.5))
    assert paired_test(Trial(one < 0, one, 0.5), Trial(one < 0, other, 0.5)) == pytest.approx(expected, rel=1e-6)


def test_more_certain_outputs_are_not_better_ones() -> None:
    rng, classes = np.random.default_rng(2), np.arange(200) % 4
    logits = rng.normal(0, 1, (200, 4)) + 2 * np.eye(4)[classes]
    soft, sharp = (np.exp(each) / np.exp(each).sum(axis=1, keepdims=True) for each in (logits, 2 * logits))
    assert trial_of(sharp, classes).score == pytest.approx(trial_of(soft, classes).score, abs=0.01)


def test_an_accident_is_not_clearly_better() -> None:
    assert not clearly_better(trial(58), trial(50), CERTAIN)
    assert clearly_better(trial(60), trial(50), CERTAIN)
    assert not clearly_better(trial(60), trial(50), CERTAIN / 40)


def higher(right: int, gain: float, images: int = 100) -> tuple[Trial, Trial]:
    """Return a trial, and one that is right on 90 % and gives the true classes so much lower probabilities."""
    logs = -0.5 + np.random.default_rng(3).normal(0, 0.3, images)
    return Trial(np.arange(images) < right, logs, 0.9), Trial(
        np.arange(images) < 0.9 * images, logs - gain + trial(1, images).right * 0.01, 0.9
    )


def test_much_higher_probabilities_are_evidence_where_images_are_gained_too() -> None:
    assert clearly_better(*higher(93, 0.12), CERTAIN / 40)
    assert not clearly_better(*higher(91, 0.12), CERTAIN / 40)
    assert not clearly_better(*higher(93, 0.05), CERTAIN / 40)
    assert not clearly_better(*higher(93, 0.12), CERTAIN / 40, by_images=True)


def test_few_images_need_a_larger_gain() -> None:
    assert not clearly_better(*higher(20, 0.12, 20), CERTAIN)
    assert clearly_better(*higher(20, 0.3, 20), CERTAIN)


def right_on(count: int, classes: np.ndarray) -> np.ndarray:
    """Return the probabilities of a model that is right on the first images and wrong on the others."""
    return np.eye(10)[np.where(np.arange(len(classes)) < count, classes, (classes + 1) % 10)]


def test_fifteen_per_cent_of_ten_classes_is_not_far_above_chance() -> None:
    classes = np.arange(1000) % 10
    assert chance(classes, 10) == pytest.approx(0.1)
    assert not far_above_chance(trial_of(right_on(150, classes), classes))
    assert far_above_chance(trial_of(right_on(400, classes), classes))


def test_always_the_commonest_class_is_guessing() -> None:
    assert chance(np.array([0] * 90 + [1] * 10), 2) == pytest.approx(0.9)
