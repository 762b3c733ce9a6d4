# SPDX-License-Identifier: Apache-2.0
"""One fault planted in one format: what it does to the answers, and whether the check noticed."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from edgeferry.benchmarks.parity.outcome import Outcome
from edgeferry.models.decision import ONE_LABEL, Decision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# harmful and subtle: it changes answers, many or few. none: it changes no answer on these images. elsewhere: predictions for
# single prepared images cannot show it. honest: it is no fault.
Harm = Literal["harmful", "subtle", "none", "elsewhere", "honest"]
# A fault is harmful where more than this fraction of answers differ from the honest artifact's, or that much accuracy is lost.
HARMFUL_CHANGED: Final = 0.02
HARMFUL_LOST: Final = 0.01


@dataclass(frozen=True)
class Trial:
    """A fault of a family planted in a format, run on a target.

    ``changed`` is the fraction of answers that differ from those of the honest artifact of the same format, ``lost`` the accuracy
    that is lost, None where neither was measured or, for ``lost``, where there are no labels. ``outcome`` and ``reason`` are the
    check's.
    """

    format: str
    target: str
    family: str
    fault: str
    harm: Harm
    outcome: Outcome
    reason: str
    changed: float | None = None
    lost: float | None = None

    @property
    def is_caught(self) -> bool:
        """Return whether the check failed the artifact."""
        return self.outcome == "failed"


@dataclass(frozen=True)
class Answers:
    """The classes that an artifact predicts for all images, [count], and the accuracy on those with labels, or None."""

    classes: "NDArray[np.int64]"
    accuracy: float | None


def answers_of(scores: "NDArray[np.float32]", labels: "NDArray[np.int64]", decision: Decision = ONE_LABEL) -> Answers:
    """Return the answers in scores, [count, classes]; ``labels`` holds the true ones of every image, -1 where unknown."""
    known = labels.reshape(len(labels), -1)[:, 0] >= 0
    right = float(decision.right(scores[known], labels[known]).mean()) if known.any() else None
    return Answers(decision.classes(scores), right)


def harm_of(found: Answers | None, honest: Answers) -> tuple[Harm, float, float | None]:
    """Return a fault's harm, the fraction of answers that changed, and the accuracy lost; None is what does not run."""
    if found is None or found.classes.shape != honest.classes.shape:
        return "harmful", 1.0, honest.accuracy
    changed = float((found.classes != honest.classes).mean())
    lost = None if found.accuracy is None or honest.accuracy is None else honest.accuracy - found.accuracy
    is_harmful = changed > HARMFUL_CHANGED or (lost is not None and lost > HARMFUL_LOST)
    return ("harmful" if is_harmful else "subtle" if changed else "none"), changed, lost
