# SPDX-License-Identifier: Apache-2.0
"""Which differences between two artifacts' answers count as worse."""

import math
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeferry.benchmarks.diff.answers import Known, compared_answers, decided
from edgeferry.benchmarks.diff.result import Answers, ResultDiff
from edgeferry.models.decision import ONE_LABEL

IMAGES = 100
RIGHT = np.arange(IMAGES) % 2


def scores(wrong: int, *, start: int = 0) -> NDArray[np.float32]:
    """Return probabilities of two classes that are wrong for so many images in a row."""
    classes = RIGHT.copy()
    classes[start : start + wrong] ^= 1
    return np.where(classes[:, None] == [0, 1], 0.9, 0.1).astype(np.float32)


def answers(old: NDArray[np.float32], new: NDArray[np.float32]) -> Answers:
    return compared_answers(old, new, Known(RIGHT, "labels", ONE_LABEL))


def result(found: Answers) -> ResultDiff:
    return ResultDiff("tflite-int8", "litert", "not compared", "", answers=found)


def states(*found: Answers) -> list[str]:
    return [each.state for each in decided([result(one) for one in found])]


def test_answers_count_flips_and_who_is_right() -> None:
    found = answers(scores(3), scores(5, start=2))
    assert (found.flipped, found.only_old, found.only_new) == (6, 4, 2)
    assert (found.old_right, found.new_right, found.judged) == (97, 95, 100)


def test_a_flip_names_the_image_its_label_and_both_classes() -> None:
    (flip,) = answers(scores(0), scores(1, start=7)).flips
    assert (flip.image, flip.label, flip.old, flip.new) == (7, 1, 1, 0)
    assert math.isclose(flip.difference, 0.8, abs_tol=1e-6)


def test_images_of_unknown_class_are_compared_but_not_judged() -> None:
    found = compared_answers(scores(0), scores(4), Known(np.full(IMAGES, -1), None, ONE_LABEL))
    assert (found.flipped, found.judged, found.only_old) == (4, 0, 0)


# Of so many images right in the old one alone and none in the new one, chance is 1/2 to that power: 1/64, 1/128.
@pytest.mark.parametrize(("lost", "state"), [(6, "changed"), (7, "worse")])
def test_a_loss_is_worse_from_where_chance_does_not_explain_it(lost: int, state: str) -> None:
    assert states(answers(scores(0), scores(lost))) == [state]


def test_a_gain_is_better() -> None:
    assert states(answers(scores(7), scores(0))) == ["better"]


def test_the_same_probabilities_are_the_same() -> None:
    assert states(answers(scores(3), scores(3))) == ["same"]


def test_as_many_gains_as_losses_are_a_change() -> None:
    assert states(answers(scores(20), scores(20, start=20))) == ["changed"]


def test_more_results_need_more_evidence_each() -> None:
    small, many = answers(scores(0), scores(7)), [answers(scores(2), scores(2, start=2))] * 9
    assert states(small, *many)[0] == "changed"
    assert states(answers(scores(0), scores(11)), *many)[0] == "worse"


def test_results_without_a_difference_need_no_more_evidence() -> None:
    same = answers(scores(2), scores(2))
    assert states(answers(scores(0), scores(7)), *[same] * 9)[0] == "worse"


def test_a_false_alarm_is_as_rare_as_it_is_said_to_be() -> None:
    random, alarms, blank = np.random.default_rng(5), 0, answers(scores(0), scores(0))
    for _ in range(300):
        apart = random.integers(0, 30, 5)
        lost = random.binomial(apart, 0.5)
        drawn = [result(_with(blank, int(worse), int(count - worse))) for count, worse in zip(apart, lost, strict=True)]
        alarms += any(each.state == "worse" for each in decided(drawn))
    # One in a hundred is 3 of 300; more than 9 would be seen once in a thousand times.
    assert alarms <= 9


def _with(found: Answers, only_old: int, only_new: int) -> Answers:
    return replace(found, only_old=only_old, only_new=only_new, mean_difference=0.1)
