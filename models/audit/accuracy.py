# SPDX-License-Identifier: Apache-2.0
"""Is the Keras model as often right as it should be: as training said, or as its own probabilities say?"""

from typing import TYPE_CHECKING, Final

from edgeferry.models.audit.finding import AuditFinding
from edgeferry.models.binomial import at_most
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import ONE_LABEL, Decision
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The accuracy that training reported is refuted where it makes so few right so improbable.
REFUTED: Final = 0.01
# Networks are overconfident, mostly by less than this (Guo et al. 2017); what is beyond it and beyond chance is no accident.
OVERCONFIDENT: Final = 0.15
STANDARD_ERRORS: Final = 4.0


def expected_accuracy_refuted(spec: ModelSpec, right: int, images: int) -> EdgeError | None:
    """Return the error where the model is clearly less often right than ``data.expected_accuracy`` says, or None.

    By the exact binomial test, one-sided at 1 %.
    """
    expected = spec.expected_accuracy
    if expected is None or right / images >= expected or at_most(right, images, expected) >= REFUTED:
        return None
    return EdgeError(
        "EF-accuracy-expected",
        f"{spec.path}: data.expected_accuracy is {expected:.1%}, but the model is right on {right / images:.1%} of {images} "
        "golden images, fewer than chance explains, and no other preprocessing or label order that was tried is clearly better. "
        "Prepare the images as training did, or correct their labels or the number.",
    )


def audit_confidence(
    spec: ModelSpec, probabilities: "NDArray[np.float32]", classes: "NDArray[np.int64]", decision: Decision = ONE_LABEL
) -> AuditFinding | None:
    """Return a warning where the model is much less often right than its own probabilities say, or None."""
    certain = _certainty(probabilities.astype("float64").clip(0, 1), decision.answers(probabilities), decision)
    accuracy, confidence = float(decision.right(probabilities, classes).mean()), float(certain.mean())
    gap, error = confidence - accuracy, float((certain * (1 - certain)).sum()) ** 0.5 / len(certain)
    if spec.expected_accuracy is not None or gap < OVERCONFIDENT or gap < STANDARD_ERRORS * error:
        return None
    return AuditFinding(
        "accuracy-below-confidence",
        "warning",
        "config",
        f"{spec.path}: the model is right on {accuracy:.1%} of {len(classes)} golden images, while its own mean probability is "
        f"{confidence:.1%}: expect wrong labels among the images, or images prepared in another way than in training. "
        "Where training reported the same accuracy, say so with data.expected_accuracy.",
    )


def _certainty(probabilities: "NDArray[np.float64]", answers: "NDArray[np.bool_]", decision: Decision) -> "NDArray[np.float64]":
    """Return how probable each image's answer is by the model's own probabilities, [count]; of several labels their product."""
    import numpy as np

    found: NDArray[np.float64] = np.where(answers, probabilities, 1 - probabilities).prod(axis=1)
    return found if decision.is_multilabel else (probabilities * answers).sum(axis=1)
