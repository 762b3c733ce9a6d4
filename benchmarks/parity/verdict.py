# SPDX-License-Identifier: Apache-2.0
"""Does an artifact still decide like the original? A verdict from its answers to the golden images."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.models.artifact import Artifact, Tolerance
from edgeferry.models.softmax import softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Where the original's own two best answers lie this close, float32 rounding decides which is first.
TIE: Final = 1e-4
# How often a sound artifact may be failed by the choice of golden images.
CHANCE: Final = 0.01


@dataclass(frozen=True)
class Answers:
    """The original's answers: probabilities [count, classes], true classes [count], labels in order."""

    probabilities: "NDArray[np.float32]"
    classes: "NDArray[np.int64]"
    labels: tuple[str, ...]

    def to(self, images: tuple[int, ...] | None) -> "Answers":
        """Return those to some of the images, by number; None is all."""
        if images is None:
            return self
        return Answers(self.probabilities[list(images)], self.classes[list(images)], self.labels)


@dataclass(frozen=True)
class Verdict:
    """Whether an artifact passed, in a sentence, and what was measured; numbers are None where it could not be compared."""

    passed: bool
    reason: str
    top1_agreement: float | None = None
    accuracy: float | None = None
    max_difference: float | None = None
    mean_difference: float | None = None


def read_answers(folder: Path, labels: tuple[str, ...]) -> Answers:
    """Return the reference kept in a folder."""
    import numpy as np

    return Answers(np.load(folder / "scores.npy"), np.load(folder / "labels.npy"), labels)


def judge(scores: "NDArray[np.float32]", labels: tuple[str, ...] | None, artifact: Artifact, answers: Answers) -> Verdict:
    """Return the verdict on an artifact's scores [count, classes] and on the labels found in its file.

    The answer to an image is its highest score, the first of equals. Two answers agree when they are the same class, or when
    the original itself holds them for equal.
    """
    import numpy as np

    if labels is not None and labels != answers.labels:
        return Verdict(passed=False, reason=_other_labels(labels, answers.labels))
    if artifact.labels != answers.labels:
        return Verdict(passed=False, reason=f"its manifest's labels differ: {_other_labels(artifact.labels, answers.labels)}")
    if scores.shape != answers.probabilities.shape:
        return Verdict(
            passed=False, reason=f"it answered {_by(scores.shape)} scores; expected {_by(answers.probabilities.shape)}"
        )
    wrong = int((~np.isfinite(scores).all(axis=1)).sum())
    if wrong:
        return Verdict(passed=False, reason=f"it answered NaN or Inf to {wrong} of {len(scores)} images")
    probabilities = softmax(scores) if artifact.output == "logits" else scores
    differences = np.abs(probabilities - answers.probabilities).max(axis=1)
    chosen = probabilities.argmax(axis=1)
    agreed = int(_agree(chosen, answers.probabilities).sum())
    verdict = _within(agreed, len(chosen), differences, artifact.tolerance)
    return Verdict(
        passed=not verdict,
        reason=verdict or f"the same answer to {agreed} of {len(chosen)} images",
        top1_agreement=agreed / len(chosen),
        accuracy=float((chosen == answers.classes).mean()),
        max_difference=float(differences.max()),
        mean_difference=float(differences.mean()),
    )


def far_off(scores: "NDArray[np.float32]", artifact: Artifact, expected: "NDArray[np.float32]") -> str:
    """Return in words how far an answer, [1, classes], is from the original's, where that is too far; or nothing."""
    import numpy as np

    if scores.shape != expected.shape or not np.isfinite(scores).all():
        return f"while it was timed it answered {_by(scores.shape)} scores, or not numbers; expected {_by(expected.shape)}"
    probabilities = softmax(scores) if artifact.output == "logits" else scores
    worst, most = float(np.abs(probabilities - expected).max()), artifact.tolerance.max_difference
    if worst <= most:
        return ""
    return f"while it was timed, a probability differed from the original's by {worst:.2g}; expected at most {most:.2g}"


def allowed_disagreements(images: int, tolerance: Tolerance) -> int:
    """Return how many images may be answered otherwise.

    An artifact that agrees as often as the tolerance says answers a sample of images more often otherwise than this once in a
    hundred times (binomial distribution): few images make coarse fractions, and a sound artifact must not fail by chance.
    """
    from scipy.stats import binom

    return int(binom.ppf(1 - CHANCE, images, 1 - tolerance.top1_agreement)) if tolerance.top1_agreement < 1 else 0


def _agree(chosen: "NDArray[np.int64]", probabilities: "NDArray[np.float32]") -> "NDArray[np.bool_]":
    import numpy as np

    best = probabilities.max(axis=1)
    agree: NDArray[np.bool_] = (chosen == probabilities.argmax(axis=1)) | (
        best - probabilities[np.arange(len(chosen)), chosen] < TIE
    )
    return agree


def _within(agreed: int, images: int, differences: "NDArray[np.float32]", tolerance: Tolerance) -> str:
    """Return what is outside the tolerance, or nothing."""
    problems = []
    least = images - allowed_disagreements(images, tolerance)
    if agreed < least:
        problems.append(f"the same answer to only {agreed} of {images} images; expected at least {least}")
    most, mean = float(differences.max()), float(differences.mean())
    if most > tolerance.max_difference:
        problems.append(f"a probability differs by {most:.2g}; expected at most {tolerance.max_difference:.2g}")
    if mean > tolerance.mean_difference:
        problems.append(
            f"probabilities differ by {mean:.2g} in the mean of all images; expected at most {tolerance.mean_difference:.2g}"
        )
    return "; ".join(problems)


def _other_labels(found: tuple[str, ...], expected: tuple[str, ...]) -> str:
    if len(found) != len(expected):
        return f"the file holds {len(found)} labels; expected {len(expected)}"
    at = next(at for at, (one, other) in enumerate(zip(found, expected, strict=True)) if one != other)
    return f"the file names class {at} {found[at]!r}; the contract names it {expected[at]!r}"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
