# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeferry.benchmarks.parity.judging.exercised import also_judged, batch_problem, exercised, upload_problem
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.models.artifact import Artifact, Tolerance
from edgeferry.models.golden.uploads import UPLOADED, UPLOADS
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.targets.target import BatchedScores, Run

if TYPE_CHECKING:
    from numpy.typing import NDArray

ARTIFACT = Artifact(
    format="onnx-float32",
    kind="onnx",
    main_file="model.onnx",
    source_sha256="0" * 64,
    inputs=(),
    outputs=(),
    output="probabilities",
    labels=("a", "b", "c"),
    preprocessing=Preprocessing(8, 8, "gray", (0.0,), (1.0,)),
    tolerance=Tolerance(1.0, 1e-3, 1e-4, "exact"),
    files={},
    key="",
)
BATCHES = ((5, 0, 3), (1, 4))
SCORES = np.array(
    [[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8], [0.3, 0.3, 0.4], [0.6, 0.2, 0.2], [0.2, 0.6, 0.2]], np.float32
)


def _run(batched: "NDArray[np.float32]") -> Run:
    return Run(SCORES, None, (), 1.0, 1.0, batched=BatchedScores(BATCHES, batched))


def _alone() -> "NDArray[np.float32]":
    return SCORES[[5, 0, 3, 1, 4]]


def test_batches_that_agree_with_single_images_have_no_problem() -> None:
    assert batch_problem(_run(_alone() + np.float32(1e-6)), ARTIFACT) == ""


def test_a_graph_that_repeats_the_first_image_of_a_batch_is_named_as_one() -> None:
    assert batch_problem(_run(SCORES[[5, 5, 5, 1, 1]]), ARTIFACT) == (
        "in a batch 3 of 5 images have other scores than alone: each gets the scores of the batch's first image "
        "(a probability differs by 0.6; expected at most 0.001)"
    )


def test_a_batch_in_another_order_is_seen() -> None:
    found = batch_problem(_run(SCORES[[0, 5, 3, 1, 4]]), ARTIFACT)
    assert found.startswith("in a batch 2 of 5 images have other scores than alone (")


def test_a_coarse_format_is_no_excuse_in_a_batch() -> None:
    coarse = replace(ARTIFACT, tolerance=Tolerance(0.95, 0.5, 0.1, "eight bits"))
    assert batch_problem(_run(_alone() + np.float32(0.05)), coarse).endswith("expected at most 0.01)")


def test_one_row_for_a_whole_batch_is_seen() -> None:
    assert batch_problem(_run(SCORES[:2]), ARTIFACT) == "in batches its output is 2 x 3 scores; expected 5 x 3"


def test_nan_in_a_batch_is_seen() -> None:
    assert "NaN" in batch_problem(_run(np.full((5, 3), np.nan, np.float32)), ARTIFACT)


def test_logits_are_compared_as_probabilities() -> None:
    assert batch_problem(_run(_alone() + np.float32(3)), replace(ARTIFACT, output="logits")) == ""


def test_images_that_ran_in_another_order_are_found_by_their_number() -> None:
    order = (3, 5, 0, 1, 4)
    run = Run(SCORES[list(order)], None, (), 1.0, 1.0, image_indices=order, batched=BatchedScores(BATCHES, _alone()))
    assert batch_problem(run, ARTIFACT) == ""


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """Return a reference's folder with four files to upload."""
    (tmp_path / UPLOADS).mkdir()
    for name in ("00-wide.png", "01-rotated.jpg", "02-rotated.jpg", "03-alpha.png"):
        (tmp_path / UPLOADS / name).touch()
    np.save(tmp_path / UPLOADED, SCORES[:4])
    return tmp_path


def _uploaded(uploads: "NDArray[np.float32]") -> Run:
    return Run(SCORES, None, (), 1.0, 1.0, uploads=uploads)


def test_files_read_as_the_config_says_have_no_problem(reference: Path) -> None:
    assert upload_problem(_uploaded(SCORES[:4]), ARTIFACT, reference) == ""


def test_a_fault_names_the_kind_of_file_and_its_largest_difference(reference: Path) -> None:
    uploads = SCORES[:4].copy()
    uploads[1:3, 0] += np.float32([0.02, 0.25])
    assert upload_problem(_uploaded(uploads), ARTIFACT, reference) == (
        "for a JPEG with EXIF rotation a probability is off by 0.25; expected at most 0.001 from the Keras model's"
    )


def test_a_kind_that_is_refused_is_named(reference: Path) -> None:
    uploads = SCORES[:4].copy()
    uploads[3] = np.nan
    assert upload_problem(_uploaded(uploads), ARTIFACT, reference) == "it gives no probabilities for a PNG with an alpha channel"


def test_a_passed_verdict_fails_and_a_failed_one_keeps_its_reason(reference: Path) -> None:
    run = _run(SCORES[[5, 5, 5, 1, 1]])
    passed = also_judged(Verdict("passed", "within the tolerance"), run, ARTIFACT, reference)
    failed = also_judged(Verdict("failed", "agreement is 1 of 6 images"), run, ARTIFACT, reference)
    assert (passed.outcome, failed.outcome) == ("failed", "failed")
    assert passed.reason.startswith("in a batch 3 of 5 images")
    assert failed.reason.startswith("agreement is 1 of 6 images; in a batch 3 of 5 images")


def test_a_row_records_what_else_was_exercised() -> None:
    assert exercised(replace(_run(_alone()), uploads=SCORES)) == {"images_in_batches": 5, "files_uploaded": 6}
    assert exercised(Run(SCORES, None, (), 1.0, 1.0)) == {}


def test_a_run_without_batches_and_uploads_keeps_its_verdict(reference: Path) -> None:
    verdict = Verdict("inconclusive", "too few")
    assert also_judged(verdict, Run(SCORES, None, (), 1.0, 1.0), ARTIFACT, reference) is verdict
