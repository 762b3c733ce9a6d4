# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import jsonschema
import numpy as np
import pytest

from edgeferry.benchmarks.report.selftest_page import selftest_fields, selftest_section
from edgeferry.benchmarks.selftest import result
from edgeferry.benchmarks.selftest.result import SelfTest, holds, missed, read_selftest, tallies, write_selftest
from edgeferry.benchmarks.selftest.trial import Answers, Trial, harm_of
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT

CAUGHT = Trial("onnx-float32", "onnxruntime-cpu", "labels", "labels reversed", "harmful", "failed", "agreement", 0.9, 0.8)
MISSED = Trial("tflite-int8", "litert", "noise", "noise of 3%", "harmful", "passed", "", 0.03, 0.012)
SUBTLE = Trial("tflite-int8", "litert", "noise", "noise of 1%", "subtle", "passed", "", 0.004, 0.0)
HONEST = Trial("tflite-int8", "litert", "honest", "exported again", "honest", "passed", "", 0.0, 0.0)


def self_test_of(*trials: Trial) -> SelfTest:
    return SelfTest("my", "0" * 64, "2026-01-01T00:00:00+00:00", 1.5, 30, 100, {"tflite-int8": "1" * 64}, trials)


def answers(*classes: int, accuracy: float | None = 1.0) -> Answers:
    return Answers(np.array(classes), accuracy)


def test_a_fault_that_changes_no_answer_is_too_small_to_matter() -> None:
    assert harm_of(answers(1, 2), answers(1, 2)) == ("none", 0.0, 0.0)


def test_a_fault_that_changes_one_answer_of_many_is_subtle() -> None:
    honest = answers(*[0] * 100)
    assert harm_of(answers(1, *[0] * 99), honest)[0] == "subtle"


def test_a_fault_that_changes_more_than_2_percent_of_answers_is_harmful() -> None:
    assert harm_of(answers(1, 1, 1, *[0] * 97), answers(*[0] * 100))[0] == "harmful"


def test_a_fault_that_costs_more_than_a_point_of_accuracy_is_harmful() -> None:
    honest = answers(*[0] * 100, accuracy=0.9)
    assert harm_of(answers(1, *[0] * 99, accuracy=0.885), honest)[0] == "harmful"


def test_an_artifact_that_does_not_run_is_harmful() -> None:
    assert harm_of(None, answers(1, 2))[:2] == ("harmful", 1.0)


def test_the_result_holds_where_only_subtle_faults_were_missed() -> None:
    assert holds(self_test_of(CAUGHT, SUBTLE, HONEST))


@pytest.mark.parametrize(
    "trial",
    [
        MISSED,
        Trial("onnx-float32", "onnxruntime-cpu", "batch", "a batch in reverse", "elsewhere", "passed", ""),
        Trial("tflite-int8", "litert", "honest", "exported again", "honest", "failed", "agreement", 0.0, 0.0),
    ],
)
def test_the_result_does_not_hold_where_one_matters(trial: Trial) -> None:
    assert not holds(self_test_of(CAUGHT, trial))


def test_harmful_faults_are_listed_before_subtle_ones() -> None:
    assert missed([SUBTLE, MISSED, CAUGHT]) == [MISSED, SUBTLE]


def test_each_format_is_counted_alone() -> None:
    onnx, int8 = tallies([MISSED, CAUGHT, SUBTLE, HONEST])
    assert (str(onnx.harmful), str(int8.harmful), str(int8.subtle), str(onnx.subtle)) == ("1 of 1", "0 of 1", "0 of 1", "-")


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    found = self_test_of(CAUGHT, MISSED)
    write_selftest(found, tmp_path)
    assert read_selftest(tmp_path) == found


def test_what_is_written_follows_its_schema(tmp_path: Path) -> None:
    schema = json.loads((ROOT / "benchmarks" / "selftest" / "selftest.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(write_selftest(self_test_of(CAUGHT, MISSED), tmp_path).read_text(encoding="utf-8")), schema)
    assert schema["properties"]["schema"]["const"] == result.SCHEMA


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    data = self_test_of(CAUGHT).as_json()
    data["trials"][0]["harm"] = "huge"
    (tmp_path / result.SELFTEST).write_text(json.dumps(data))
    with pytest.raises(EdgeError):
        read_selftest(tmp_path)


def test_a_missed_fault_stands_in_the_report_with_what_it_does() -> None:
    (line,) = selftest_fields(self_test_of(CAUGHT, MISSED))["missed"]
    assert line == "tflite-int8 on litert: noise of 3%; harmful, 3.0 % of answers change, accuracy lost 1.2 %"


def test_a_folder_without_a_self_test_has_no_section(tmp_path: Path) -> None:
    assert selftest_section(tmp_path, ()) is None
