# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import numpy as np
import pytest

from edgeferry.benchmarks.parity.verdict import Answers, allowed_disagreements, judge
from edgeferry.models.artifact import Artifact, Tolerance
from edgeferry.models.preprocessing import Preprocessing

LABELS = ("a", "b", "c")
EXACT = Tolerance(1.0, 1e-3, 1e-4, "the same arithmetic")
ARTIFACT = Artifact(
    format="some-float32",
    kind="some",
    main_file="model",
    source_sha256="0",
    inputs=(),
    outputs=(),
    output="probabilities",
    labels=LABELS,
    preprocessing=Preprocessing(1, 1, "gray", (0.0,), (1.0,)),
    tolerance=EXACT,
    files={},
    key="",
)


def _answers(count: int = 100) -> Answers:
    classes = np.arange(count) % 3
    probabilities = np.full((count, 3), 0.1, dtype=np.float32)
    probabilities[np.arange(count), classes] = 0.8
    return Answers(probabilities, classes, LABELS)


def test_the_same_answers_pass() -> None:
    answers = _answers()
    verdict = judge(answers.probabilities.copy(), LABELS, ARTIFACT, answers)
    assert verdict.passed
    assert (verdict.top1_agreement, verdict.accuracy, verdict.max_difference) == (1, 1, 0)
    assert verdict.reason == "the same answer to 100 of 100 images"


def test_one_other_answer_fails_where_none_may() -> None:
    answers = _answers()
    scores = answers.probabilities.copy()
    scores[5] = scores[5][::-1]
    scores[5, 0], scores[5, 2] = 0.8, 0.1
    verdict = judge(scores, LABELS, ARTIFACT, answers)
    assert not verdict.passed
    assert "the same answer to only 99 of 100 images; expected at least 100" in verdict.reason
    assert verdict.top1_agreement == 0.99


def test_a_difference_beyond_the_tolerance_fails_though_every_answer_is_the_same() -> None:
    answers = _answers()
    scores = answers.probabilities.copy()
    scores[7, 0] += 0.05
    verdict = judge(scores, LABELS, ARTIFACT, answers)
    assert verdict.reason.startswith("a probability differs by 0.05; expected at most 0.001")


def test_a_small_difference_of_every_image_fails_where_one_large_one_would_not() -> None:
    answers = _answers()
    coarse = replace(ARTIFACT, tolerance=Tolerance(0.97, 0.5, 0.1, "eight bits"))
    one, every = answers.probabilities.copy(), answers.probabilities.copy()
    one[7, 0] += 0.4
    every[:, 0] += 0.12
    assert judge(one, LABELS, coarse, answers).passed
    assert judge(every, LABELS, coarse, answers).reason == (
        "probabilities differ by 0.12 in the mean of all images; expected at most 0.1"
    )


def test_logits_get_a_softmax_once() -> None:
    answers = _answers()
    logits = np.log(answers.probabilities) + 3
    assert judge(logits, LABELS, replace(ARTIFACT, output="logits"), answers).passed
    assert not judge(logits, LABELS, ARTIFACT, answers).passed


def test_labels_in_another_order_fail_whatever_the_scores() -> None:
    answers = _answers()
    verdict = judge(answers.probabilities, ("b", "a", "c"), ARTIFACT, answers)
    assert not verdict.passed
    assert verdict.reason == "the file names class 0 'b'; the contract names it 'a'"


def test_labels_too_few_fail() -> None:
    answers = _answers()
    assert judge(answers.probabilities, ("a", "b"), ARTIFACT, answers).reason == "the file holds 2 labels; expected 3"


def test_a_manifest_with_other_labels_fails() -> None:
    answers = _answers()
    verdict = judge(answers.probabilities, None, replace(ARTIFACT, labels=("c", "b", "a")), answers)
    assert verdict.reason.startswith("its manifest's labels differ")


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_answers_that_are_no_numbers_fail(wrong: float) -> None:
    answers = _answers()
    scores = answers.probabilities.copy()
    scores[3, 1] = wrong
    verdict = judge(scores, LABELS, ARTIFACT, answers)
    assert verdict.reason == "it answered NaN or Inf to 1 of 100 images"
    assert not verdict.passed


def test_answers_of_another_shape_fail() -> None:
    answers = _answers()
    assert judge(answers.probabilities[:, :2], LABELS, ARTIFACT, answers).reason == "it answered 100 x 2 scores; expected 100 x 3"


def test_a_constant_answer_fails_even_the_loosest_format() -> None:
    answers = _answers()
    constant = np.tile(np.float32([0.34, 0.33, 0.33]), (100, 1))
    assert not judge(constant, LABELS, replace(ARTIFACT, tolerance=Tolerance(0.9, 0.99, 0.99, "loose")), answers).passed


def test_a_tie_of_the_original_decides_nothing() -> None:
    answers = _answers()
    answers.probabilities[4] = [0.45, 0.45 + 2e-5, 0.1]
    scores = answers.probabilities.copy()
    scores[4] = [0.45 + 2e-5, 0.45, 0.1]
    assert judge(scores, LABELS, ARTIFACT, answers).passed


@pytest.mark.parametrize(
    ("images", "agreement", "allowed"), [(360, 1.0, 0), (360, 0.97, 19), (100, 0.97, 8), (10, 0.97, 2), (1, 0.5, 1)]
)
def test_how_many_images_may_be_answered_otherwise(images: int, agreement: float, allowed: int) -> None:
    assert allowed_disagreements(images, Tolerance(agreement, 1, 1, "")) == allowed
