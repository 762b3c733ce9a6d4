# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from edgeferry.models.audit.accuracy import audit_confidence, expected_accuracy_refuted
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.preprocessing import Preprocessing


def spec(expected: float | None = None) -> ModelSpec:
    how = Preprocessing(8, 8, "gray", (0.0,), (1.0,))
    return ModelSpec(
        "pets", Path("pets.toml"), Path("pets.keras"), ("cat", "dog"), how, Path("golden"), expected_accuracy=expected
    )


@pytest.mark.parametrize(
    ("expected", "right", "images", "refuted"),
    [
        (0.95, 95, 100, False),
        (0.95, 90, 100, False),
        (0.95, 88, 100, True),
        (0.95, 8, 10, False),
        (1.0, 99, 100, True),
        (0.5, 99, 100, False),
    ],
)
def test_an_accuracy_is_refuted_where_chance_does_not_explain_it(expected: float, right: int, images: int, refuted: bool) -> None:  # noqa: FBT001
    error = expected_accuracy_refuted(spec(expected), right, images)
    assert (error is not None) == refuted
    assert error is None or error.code == "EF-accuracy-expected"


def certain(images: int, wrong: int, confidence: float = 0.97) -> tuple[np.ndarray, np.ndarray]:
    classes = np.arange(images) % 2
    scores = np.where(np.eye(2)[classes] > 0, confidence, 1 - confidence).astype(np.float32)
    classes[:wrong] = 1 - classes[:wrong]
    return scores, classes


def test_a_third_of_wrong_labels_shows_in_the_models_own_confidence() -> None:
    found = audit_confidence(spec(), *certain(200, 60))
    assert found is not None
    assert "right on 70.0% of 200 golden images, while its own mean probability is 97.0%" in found.sentence


@pytest.mark.parametrize(("images", "wrong", "confidence"), [(200, 16, 0.97), (8, 2, 0.97), (200, 60, 0.72)])
def test_ordinary_overconfidence_is_not_warned_of(images: int, wrong: int, confidence: float) -> None:
    assert audit_confidence(spec(), *certain(images, wrong, confidence)) is None


def test_an_accuracy_that_training_reported_needs_no_warning() -> None:
    assert audit_confidence(spec(0.7), *certain(200, 60)) is None
