# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

import pytest

from edgeferry.benchmarks.parity.outcome import OUTCOMES, Outcome, Verdict
from edgeferry.benchmarks.parity.required import check_required, targets_in, unmet
from edgeferry.benchmarks.parity.rows import Row, exit_status
from edgeferry.models.system.errors import EdgeError


def row(target: str, outcome: Outcome = "passed") -> Row:
    return Row("tflite-int8", target, Verdict(outcome, "a reason"))


@pytest.mark.parametrize("outcome", OUTCOMES)
def test_a_required_result_is_met_by_passing_alone(outcome: Outcome) -> None:
    assert bool(list(unmet([row("litert", outcome)], ["tflite-int8@litert"]))) == (outcome != "passed")


def test_a_required_format_may_be_absent_elsewhere_but_not_everywhere() -> None:
    assert list(unmet([row("litert"), row("coral-cpu", "not run")], ["tflite-int8"])) == []
    assert list(unmet([row("coral-cpu", "not run")], ["tflite-int8"])) == ["tflite-int8 is required to pass: not run, a reason"]
    assert list(unmet([row("litert"), row("xnnpack", "inconclusive")], ["tflite-int8"])) == [
        "tflite-int8 is required to pass: inconclusive on xnnpack"
    ]


def test_a_result_that_is_out_of_date_or_was_never_there_meets_nothing() -> None:
    outdated = replace(row("litert"), outdated="the artifact was exported again since")
    expected = ["tflite-int8@litert is required to pass: it was not checked"]
    assert list(unmet([outdated], ["tflite-int8@litert"])) == list(unmet([], ["tflite-int8@litert"])) == expected


def test_an_unmet_requirement_ends_with_status_1_where_all_else_passed() -> None:
    assert exit_status([row("litert")], ["onnx-float32 is required to pass: it was not checked"]) == 1


def test_results_that_are_out_of_date_do_not_count() -> None:
    assert exit_status([replace(row("litert", "failed"), outdated="changed"), row("keras")]) == 0


@pytest.mark.parametrize("wrong", ["tflite-int9", "tflite-int8@litter", "@litert", "tflite-int8@"])
def test_a_requirement_of_what_there_is_not_is_refused(wrong: str) -> None:
    with pytest.raises(EdgeError) as caught:
        check_required([wrong], "--require")
    assert caught.value.code == "EF-name-unknown"


def test_targets_are_named_by_requirements_that_have_one() -> None:
    assert list(targets_in(["tflite-int8", "tfjs-uint8@chromium-webgl"])) == ["chromium-webgl"]
