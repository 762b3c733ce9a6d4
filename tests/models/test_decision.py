# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edgeferry.models.decision import MULTILABEL, ONE_LABEL, Decision, decision_of, groups_of

SEVERAL = Decision(is_multilabel=True)


def scores(*rows: list[float]) -> np.ndarray:
    return np.array(rows, np.float32)


@pytest.mark.parametrize(
    ("decision", "row", "answer"),
    [
        (ONE_LABEL, [0.2, 0.5, 0.3], 1),
        (ONE_LABEL, [0.4, 0.4, 0.2], 0),
        (Decision(threshold=0.9), [0.2, 0.8], 0),
        (Decision(threshold=0.1), [0.8, 0.2], 1),
        (SEVERAL, [0.5, 0.4, 0.9], [1, 0, 1]),
        (SEVERAL, [0.1, 0.2, 0.3], [0, 0, 0]),
        (Decision(is_multilabel=True, threshold=0.15), [0.1, 0.2, 0.3], [0, 1, 1]),
    ],
    ids=["highest", "first-of-equals", "high-threshold", "low-threshold", "several", "none", "several-low"],
)
def test_the_answer_is_what_the_decision_says(decision: Decision, row: list[float], answer: int | list[int]) -> None:
    assert decision.classes(scores(row))[0].tolist() == answer


@pytest.mark.parametrize(
    ("decision", "row", "margin"),
    [(ONE_LABEL, [0.2, 0.5, 0.3], 0.2), (Decision(threshold=0.9), [0.2, 0.8], 0.2), (SEVERAL, [0.1, 0.45, 0.9], 0.05)],
    ids=["one", "threshold", "several"],
)
def test_the_margin_is_that_of_the_nearest_other_answer(decision: Decision, row: list[float], margin: float) -> None:
    assert decision.margins(scores(row))[0] == pytest.approx(margin, abs=1e-6)


def test_several_labels_agree_label_by_label() -> None:
    found, reference = scores([0.6, 0.2], [0.6, 0.6]), scores([0.9, 0.1], [0.9, 0.4])
    assert SEVERAL.agreement(found, reference).tolist() == [[True, True], [True, False]]


@pytest.mark.parametrize(
    ("decision", "found", "reference", "far"),
    [
        (ONE_LABEL, [0.4, 0.6], [0.50002, 0.49998], [0.6, 0.4]),
        (Decision(threshold=0.7), [0.4, 0.6], [0.29998, 0.70002], [0.2, 0.8]),
        (SEVERAL, [0.4, 0.6], [0.50002, 0.9], [0.6, 0.9]),
    ],
    ids=["one", "threshold", "several"],
)
def test_an_answer_that_rounding_decides_agrees(
    decision: Decision, found: list[float], reference: list[float], far: list[float]
) -> None:
    assert decision.agreement(scores(found), scores(reference)).all()
    assert not decision.agreement(scores(found), scores(far)).all()


def test_an_image_of_several_labels_is_right_where_all_are() -> None:
    truth = np.array([[1, 0], [1, 1]])
    assert SEVERAL.right(scores([0.9, 0.1], [0.9, 0.1]), truth).tolist() == [True, False]


def test_images_with_the_same_labels_are_one_group() -> None:
    groups = groups_of(np.array([[1, 0], [0, 1], [1, 0]]))
    assert groups[0] == groups[2] != groups[1]


def test_the_kind_of_output_decides_how() -> None:
    assert decision_of(MULTILABEL, 0.3) == Decision(is_multilabel=True, threshold=0.3)
    assert decision_of("logits", None) == ONE_LABEL
