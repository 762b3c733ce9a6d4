# SPDX-License-Identifier: Apache-2.0
"""Does an artifact still predict like the Keras model? A verdict from its scores for the golden images."""

from typing import TYPE_CHECKING

from edgeferry.benchmarks.parity.expected import Expected
from edgeferry.benchmarks.parity.metric import metrics
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.models.artifact import Artifact
from edgeferry.models.softmax import softmax

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def judge(scores: "NDArray[np.float32]", labels: tuple[str, ...] | None, artifact: Artifact, expected: Expected) -> Verdict:
    """Return the verdict on an artifact's scores [count, classes] and on the labels found in its file.

    It passed where every metric is within the artifact's tolerance.
    """
    images = len(scores)
    if problem := _incomparable(scores, labels, artifact, expected):
        return Verdict("failed", problem, images=images)
    probabilities = _probabilities(scores, artifact)
    values = {metric.name: metric.value(probabilities, expected) for metric in metrics().values()}
    problems = [metric.problem(values[metric.name], images, artifact.tolerance) for metric in metrics().values()]
    if any(problems):
        return Verdict("failed", "; ".join(filter(None, problems)), images=images, metrics=values)
    limited = [metric.statement(values[metric.name], images) for metric in metrics().values() if metric.tolerance]
    return Verdict("passed", f"{', '.join(limited)}: within the tolerance", images=images, metrics=values)


def far_off(scores: "NDArray[np.float32]", artifact: Artifact, expected: "NDArray[np.float32]") -> str:
    """Return in words how far scores, [1, classes], are from the Keras model's, where that is too far; or nothing."""
    import numpy as np

    if scores.shape != expected.shape:
        return f"while it was timed, its output was {_by(scores.shape)} scores; expected {_by(expected.shape)}"
    if not np.isfinite(scores).all():
        return "while it was timed, its output was NaN or Inf; expected numbers"
    worst, most = float(np.abs(_probabilities(scores, artifact) - expected).max()), artifact.tolerance.max_difference
    if worst <= most:
        return ""
    return f"while it was timed, a probability differed from the Keras model's by {worst:.3g}; expected at most {most:.3g}"


def _probabilities(scores: "NDArray[np.float32]", artifact: Artifact) -> "NDArray[np.float32]":
    return softmax(scores) if artifact.output == "logits" else scores


def _incomparable(scores: "NDArray[np.float32]", labels: tuple[str, ...] | None, artifact: Artifact, expected: Expected) -> str:
    """Return why scores cannot be compared with those expected, or nothing."""
    import numpy as np

    if labels is not None and labels != expected.labels:
        return _other_labels(labels, expected.labels)
    if artifact.labels != expected.labels:
        return f"its manifest's labels differ: {_other_labels(artifact.labels, expected.labels)}"
    if scores.shape != expected.probabilities.shape:
        return f"its output is {_by(scores.shape)} scores; expected {_by(expected.probabilities.shape)}"
    wrong = int((~np.isfinite(scores).all(axis=1)).sum())
    return f"its output is NaN or Inf for {wrong} of {len(scores)} images; expected numbers" if wrong else ""


def _other_labels(found: tuple[str, ...], expected: tuple[str, ...]) -> str:
    if len(found) != len(expected):
        return f"the file holds {len(found)} labels; expected {len(expected)}"
    at = next(at for at, (one, other) in enumerate(zip(found, expected, strict=True)) if one != other)
    return f"the file names class {at} {found[at]!r}; the config names it {expected[at]!r}"


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
