# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from edgeferry.benchmarks.parity.judging.expected import Expected
from edgeferry.benchmarks.parity.judging.metrics.agreement import allowed_disagreements
from edgeferry.benchmarks.parity.judging.verdict import far_off, judge
from edgeferry.models.artifact import Artifact, Tolerance
from edgeferry.models.decision import MULTILABEL, Decision
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


def _expected(count: int = 100) -> Expected:
    classes = np.arange(count) % 3
    probabilities = np.full((count, 3), 0.1, dtype=np.float32)
    probabilities[np.arange(count), classes] = 0.8
    return Expected(probabilities, classes, LABELS)


def test_the_same_scores_pass() -> None:
    expected = _expected()
    verdict = judge(expected.probabilities.copy(), LABELS, ARTIFACT, expected)
    assert verdict.passed
    assert verdict.images == 100
    assert verdict.metrics["top1_agreement"] == verdict.metrics["accuracy"] == 1
    assert verdict.metrics["p99_difference"] == verdict.metrics["mean_difference"] == 0
    assert verdict.reason == "100 of 100 images agree: at least 97.0 % of all do"


def test_one_other_class_fails_where_none_may() -> None:
    expected = _expected()
    scores = expected.probabilities.copy()
    scores[5] = scores[5][::-1]
    scores[5, 0], scores[5, 2] = 0.8, 0.1
    verdict = judge(scores, LABELS, ARTIFACT, expected)
    assert not verdict.passed
    assert "agreement is 99 of 100 images; expected at least 100" in verdict.reason
    assert verdict.metrics["top1_agreement"] == 0.99


def test_a_difference_beyond_the_tolerance_fails_though_every_class_is_the_same() -> None:
    expected = _expected()
    scores = expected.probabilities.copy()
    scores[7:9, 0] += 0.05
    verdict = judge(scores, LABELS, ARTIFACT, expected)
    assert verdict.reason.startswith("p99 difference is 0.05; expected at most 0.001")


def test_one_image_in_a_hundred_may_be_far_off_where_rounding_explains_it() -> None:
    expected = _expected(1000)
    coarse = replace(ARTIFACT, tolerance=Tolerance(0.97, 0.4, 0.1, "eight bits"))
    scores = expected.probabilities.copy()
    scores[:10, 0] += 0.45
    assert judge(scores, LABELS, coarse, expected).passed
    scores[:11, 0] = expected.probabilities[:11, 0] + 0.45
    assert judge(scores, LABELS, coarse, expected).reason == "p99 difference is 0.45; expected at most 0.4"


def test_a_small_difference_of_every_image_fails_where_one_large_one_would_not() -> None:
    expected = _expected()
    coarse = replace(ARTIFACT, tolerance=Tolerance(0.97, 0.5, 0.1, "eight bits"))
    one, every = expected.probabilities.copy(), expected.probabilities.copy()
    one[7, 0] += 0.4
    every[:, 0] += 0.12
    assert judge(one, LABELS, coarse, expected).passed
    assert judge(every, LABELS, coarse, expected).reason == ("mean difference is 0.12; expected at most 0.1")


def test_logits_get_a_softmax_once() -> None:
    expected = _expected()
    logits = np.log(expected.probabilities) + 3
    assert judge(logits, LABELS, replace(ARTIFACT, output="logits"), expected).passed
    assert not judge(logits, LABELS, ARTIFACT, expected).passed


def test_labels_in_another_order_fail_whatever_the_scores() -> None:
    expected = _expected()
    verdict = judge(expected.probabilities, ("b", "a", "c"), ARTIFACT, expected)
    assert not verdict.passed
    assert verdict.reason == "the file names class 0 'b'; the config names it 'a'"


def test_labels_too_few_fail() -> None:
    expected = _expected()
    assert judge(expected.probabilities, ("a", "b"), ARTIFACT, expected).reason == "the file holds 2 labels; expected 3"


def test_a_manifest_with_other_labels_fails() -> None:
    expected = _expected()
    verdict = judge(expected.probabilities, None, replace(ARTIFACT, labels=("c", "b", "a")), expected)
    assert verdict.reason == "its manifest names class 0 'c'; the config names it 'a'"


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_scores_that_are_no_numbers_fail(wrong: float) -> None:
    expected = _expected()
    scores = expected.probabilities.copy()
    scores[3, 1] = wrong
    verdict = judge(scores, LABELS, ARTIFACT, expected)
    assert verdict.reason == "its output is NaN or Inf for 1 of 100 images; expected numbers"
    assert not verdict.passed


def test_scores_of_another_shape_fail() -> None:
    expected = _expected()
    assert (
        judge(expected.probabilities[:, :2], LABELS, ARTIFACT, expected).reason
        == "its output is 100 x 2 scores; expected 100 x 3"
    )


def test_constant_scores_fail_even_the_loosest_format() -> None:
    expected = _expected()
    constant = np.tile(np.float32([0.34, 0.33, 0.33]), (100, 1))
    assert not judge(constant, LABELS, replace(ARTIFACT, tolerance=Tolerance(0.9, 0.99, 0.99, "loose")), expected).passed


def test_a_tie_of_the_keras_model_decides_nothing() -> None:
    expected = _expected()
    expected.probabilities[4] = [0.45, 0.45 + 2e-5, 0.1]
    scores = expected.probabilities.copy()
    scores[4] = [0.45 + 2e-5, 0.45, 0.1]
    assert judge(scores, LABELS, ARTIFACT, expected).passed


@pytest.mark.parametrize(
    ("images", "agreement", "allowed"), [(360, 1.0, 0), (360, 0.97, 19), (100, 0.97, 8), (10, 0.97, 2), (1, 0.5, 1)]
)
def test_how_many_images_may_have_another_class(images: int, agreement: float, allowed: int) -> None:
    assert allowed_disagreements(images, agreement) == allowed


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        ([[0.8, 0.1, 0.1]], ""),
        ([[0.7, 0.2, 0.1]], "a probability differed from the Keras model's by 0.1; expected at most 0.001"),
        ([[0.8, 0.2]], "its output was 1 x 2 scores; expected 1 x 3"),
        ([[0.8, np.nan, 0.1]], "its output was NaN or Inf; expected numbers"),
    ],
)
def test_scores_of_a_timed_run_are_compared_too(scores: list[list[float]], problem: str) -> None:
    found = far_off(np.array(scores, np.float32), ARTIFACT, np.array([[0.8, 0.1, 0.1]], np.float32))
    assert found == (f"while it was timed, {problem}" if problem else "")


# Evidence


def _flipped(expected: Expected, *images: int) -> Any:
    """Return the expected probabilities with another first class for some images."""
    scores = expected.probabilities.copy()
    for image in images:
        scores[image] = np.roll(scores[image], 1)
    return scores


INT8 = replace(ARTIFACT, tolerance=Tolerance(0.97, 0.4, 0.1, "eight bits"))
LOOSE = Tolerance(0.97, 1.0, 1.0, "loose", times_explained=100.0)


def test_too_few_images_are_inconclusive_and_the_number_needed_is_named() -> None:
    expected = _expected(10)
    verdict = judge(expected.probabilities, LABELS, ARTIFACT, expected)
    assert verdict.outcome == "inconclusive"
    assert verdict.reason == (
        "10 of 10 images agree, which shows only that at least 74.1 % of all do; expected 90.0 %: "
        "at this rate 29 golden images would show it"
    )


def test_as_many_images_as_are_needed_are_enough() -> None:
    assert judge(_expected(28).probabilities, LABELS, ARTIFACT, _expected(28)).outcome == "inconclusive"
    assert judge(_expected(29).probabilities, LABELS, ARTIFACT, _expected(29)).outcome == "passed"


def test_a_failure_of_few_images_is_a_failure() -> None:
    expected = _expected(10)
    assert judge(_flipped(expected, *range(8)), LABELS, replace(ARTIFACT, tolerance=LOOSE), expected).outcome == "failed"


def test_flipped_images_are_kept_with_both_classes_the_largest_difference_first() -> None:
    expected = _expected(100)
    scores = _flipped(expected, 4)
    scores[9] = [0.5, 0.25, 0.25] if expected.classes[9] else [0.25, 0.5, 0.25]
    verdict = judge(scores, LABELS, replace(ARTIFACT, tolerance=LOOSE), expected)
    assert [(flip.image, flip.label, flip.reference, flip.found) for flip in verdict.flips] == [(4, 1, 1, 2), (9, 0, 0, 1)]


def test_a_significant_loss_of_accuracy_fails_where_the_agreement_alone_would_not() -> None:
    expected = _expected(360)
    verdict = judge(_flipped(expected, *range(8)), LABELS, replace(ARTIFACT, tolerance=LOOSE), expected)
    assert verdict.reason == "accuracy loss is 0.0222; expected at most 0.01"


def test_golden_images_without_labels_are_judged_by_agreement_alone() -> None:
    unlabelled = replace(_expected(), classes=np.full(100, -1))
    verdict = judge(unlabelled.probabilities, LABELS, ARTIFACT, unlabelled)
    assert (verdict.outcome, verdict.metrics["accuracy"], verdict.metrics["accuracy_loss"]) == ("passed", None, None)


def test_a_difference_that_rounding_does_not_explain_fails() -> None:
    expected = _expected()
    simulated = expected.probabilities + np.float32([0.01, -0.01, 0])
    found = expected.probabilities + np.float32([0.02, -0.02, 0])
    verdict = judge(
        found, LABELS, replace(ARTIFACT, tolerance=Tolerance(0.97, 0.4, 0.1, "")), replace(expected, simulated=simulated)
    )
    assert verdict.reason == "seen / expected is 2; expected at most 1.95"


def test_probes_sharpen_the_comparison_with_what_rounding_explains() -> None:
    expected = _expected(40)
    whole = Expected(np.concatenate([expected.probabilities, expected.probabilities]), expected.classes, LABELS)
    simulated = whole.probabilities + np.float32([0.01, -0.01, 0])
    found = simulated.copy()
    found[40:] += np.float32([0.03, -0.03, 0])
    verdict = judge(
        found, LABELS, replace(ARTIFACT, tolerance=Tolerance(0.97, 0.4, 0.1, "")), replace(whole, simulated=simulated)
    )
    assert (verdict.outcome, verdict.images, verdict.probes) == ("failed", 40, 40)


def _several() -> Expected:
    truth = np.random.default_rng(0).integers(0, 2, (200, 3))
    decision = Decision(is_multilabel=True)
    return Expected((0.1 + 0.8 * truth).astype(np.float32), truth, LABELS, decision=decision)


def test_the_same_labels_of_every_image_pass() -> None:
    expected = _several()
    verdict = judge(expected.probabilities.copy(), LABELS, replace(ARTIFACT, output=MULTILABEL), expected)
    assert verdict.outcome == "passed"
    assert verdict.metrics["accuracy"] == verdict.metrics["top1_agreement"] == 1


def test_of_several_labels_the_worst_one_is_judged() -> None:
    # 9 of 200 images lose one label: 98.5 % of all answers are the same, but only 95.5 % of that label's.
    expected = _several()
    scores = expected.probabilities.copy()
    scores[:9, 1] = 1 - scores[:9, 1]
    verdict = judge(scores, LABELS, replace(ARTIFACT, output=MULTILABEL, tolerance=LOOSE), expected)
    assert verdict.metrics["top1_agreement"] == verdict.metrics["accuracy"] == 191 / 200
    assert len(verdict.flips) == 9
    held = tuple(np.flatnonzero(expected.classes[0]).tolist())
    assert verdict.flips[0].label == verdict.flips[0].reference == held
    assert verdict.flips[0].found == tuple(sorted({1} ^ set(held)))


def test_a_threshold_moves_the_answer_between_two_labels() -> None:
    scores = np.array([[0.3, 0.7], [0.1, 0.9]] * 60, np.float32)
    expected = Expected(scores, np.array([0, 1] * 60), ("no", "yes"), decision=Decision(threshold=0.8))
    verdict = judge(scores.copy(), ("no", "yes"), replace(ARTIFACT, labels=("no", "yes")), expected)
    assert verdict.metrics["accuracy"] == 1
