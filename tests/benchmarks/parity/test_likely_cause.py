# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from typing import Final

import pytest

from edgeferry.benchmarks.parity.one_run import with_likely_cause
from edgeferry.benchmarks.parity.outcome import Outcome, Verdict
from edgeferry.models.artifact import Artifact, Tolerance
from edgeferry.models.audit.finding import AuditFinding
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.reference import Reference

HOW: Final = Preprocessing(1, 1, "gray", (0.0,), (1.0,))
NOISE: Final = AuditFinding("calibration-noise", "warning", "calibration", "neighbouring pixels differ like noise")
REFERENCE: Final = Reference("", "", "probabilities", ("a", "b"), HOW, 3, 1.0, "5", "", {}, (NOISE,), {})
INT8: Final = Artifact(
    "tflite-int8", "tflite", "model", "0", (), (), "probabilities", ("a", "b"), HOW, Tolerance(1, 0, 0, ""), {}, "",
    calibration_digest="5",
)  # fmt: skip


def failed(ratio: float | None, outcome: Outcome = "failed") -> Verdict:
    return Verdict(outcome, "agreement is 6 of 8 images", metrics={"times_explained": ratio})


def test_a_failure_that_rounding_explains_names_what_the_audit_found_in_the_calibration_images() -> None:
    reason = with_likely_cause(failed(1.1), INT8, REFERENCE).reason
    assert reason.endswith(
        "its 8-bit ranges explain the difference (1.10x): the calibration images are the likely cause: "
        "neighbouring pixels differ like noise."
    )


def test_where_the_audit_found_nothing_it_says_where_to_look() -> None:
    assert "look at the calibration images" in with_likely_cause(failed(1.1), INT8, replace(REFERENCE, findings=())).reason


@pytest.mark.parametrize("verdict", [failed(3.0), failed(None), failed(1.0, "passed")])
def test_a_failure_that_rounding_does_not_explain_blames_no_calibration(verdict: Verdict) -> None:
    assert with_likely_cause(verdict, INT8, REFERENCE) == verdict


def test_an_artifact_that_is_not_calibrated_blames_no_calibration() -> None:
    assert with_likely_cause(failed(1.1), replace(INT8, calibration_digest=None), REFERENCE) == failed(1.1)
