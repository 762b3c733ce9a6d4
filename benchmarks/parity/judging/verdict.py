# SPDX-License-Identifier: Apache-2.0
"""Does an artifact still predict like the Keras model? A verdict from its scores for the golden images."""

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeferry.benchmarks.parity.judging.evidence import LEAST_SHOWN, at_least, images_needed
from edgeferry.benchmarks.parity.judging.expected import Expected
from edgeferry.benchmarks.parity.judging.metric import metrics
from edgeferry.benchmarks.parity.judging.metrics.agreement import agreeing, agrees
from edgeferry.benchmarks.parity.judging.metrics.difference import differences
from edgeferry.benchmarks.parity.judging.sentences import other_labels, other_shape
from edgeferry.benchmarks.parity.outcome import FLIPS_KEPT, Answer, Flip, Verdict
from edgeferry.benchmarks.report.words import percent, times
from edgeferry.models.artifact import Artifact
from edgeferry.models.decision import Decision, probabilities_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def judge(scores: "NDArray[np.float32]", labels: tuple[str, ...] | None, artifact: Artifact, expected: Expected) -> Verdict:
    """Return the verdict on an artifact's scores [count, classes] and on the labels found in its file.

    It failed where a metric is not within the artifact's tolerance. It passed where all are, and where the golden images show
    that at least LEAST_SHOWN of all images agree; where they are too few for that it is inconclusive.
    """
    images = expected.golden
    blank = Verdict("failed", "", images=images, probes=len(expected.probabilities) - images)
    if problem := _incomparable(scores, labels, artifact, expected):
        return replace(blank, reason=problem)
    probabilities = probabilities_of(scores, artifact.output)
    values = {metric.name: metric.value(probabilities, expected) for metric in metrics().values()}
    found = replace(blank, metrics=values, flips=flips(probabilities, expected))
    counts = {True: images, False: len(expected.probabilities)}
    problems = [metric.problem(values[each], counts[metric.counted], artifact.tolerance) for each, metric in metrics().items()]
    if any(problems):
        return replace(found, reason="; ".join(filter(None, problems)))
    same = agreeing(probabilities, expected)
    shown = at_least(same, images)
    if shown < LEAST_SHOWN:
        return replace(found, outcome="inconclusive", reason=_too_few(same, images, shown))
    return replace(found, outcome="passed", reason=_evidence(same, images, shown, values["times_explained"]))


def flips(probabilities: "NDArray[np.float32]", expected: Expected) -> tuple[Flip, ...]:
    """Return the golden images with another class than the Keras model's, the largest differences first."""
    import numpy as np

    count = expected.golden
    apart = differences(probabilities[:count], expected.probabilities[:count])
    found, reference = (answers_of(expected.decision, each[:count]) for each in (probabilities, expected.probabilities))
    flipped = np.flatnonzero(~agrees(probabilities, expected).all(axis=1))
    worst = flipped[np.argsort(-apart[flipped], kind="stable")][:FLIPS_KEPT]
    true = written_as_answers(expected.classes) if expected.is_labelled else [None] * count
    return tuple(Flip(int(at), true[at], reference[at], found[at], float(apart[at])) for at in worst)


def answers_of(decision: Decision, probabilities: "NDArray[np.float32]") -> list[Answer]:
    """Return the answer to each image, as reports hold it."""
    return written_as_answers(decision.classes(probabilities))


def written_as_answers(classes: "NDArray[np.int64]") -> list[Answer]:
    """Return true labels or answers as reports hold them: class numbers, or the numbers of the labels that hold."""
    import numpy as np

    if classes.ndim == 1:
        return [int(each) for each in classes]
    return [tuple(np.flatnonzero(each).tolist()) for each in classes]


def _evidence(same: int, images: int, shown: float, ratio: float | None) -> str:
    explained = "" if ratio is None else f"; the mean difference is {times(ratio)} what its precision explains"
    return f"{same} of {images} images agree: at least {percent(shown)} of all do{explained}"


def _too_few(same: int, images: int, shown: float) -> str:
    needed = images_needed(1 - same / images)
    cure = f"at this rate {needed} golden images would show it" if needed else "add golden images that are typical"
    seen = f"{same} of {images} images agree, which shows only that at least {percent(shown)} of all do"
    return f"{seen}; expected {percent(LEAST_SHOWN)}: {cure}"


def far_off(scores: "NDArray[np.float32]", artifact: Artifact, expected: "NDArray[np.float32]") -> str:
    """Return in words how far scores, [1, classes], are from the Keras model's, where that is too far; or nothing."""
    import numpy as np

    if scores.shape != expected.shape:
        return f"while it was timed, its output was {other_shape(scores.shape, expected.shape)}"
    if not np.isfinite(scores).all():
        return "while it was timed, its output was NaN or Inf; expected numbers"
    worst, most = float(np.abs(probabilities_of(scores, artifact.output) - expected).max()), artifact.tolerance.p99_difference
    if worst <= most:
        return ""
    return f"while it was timed, a probability differed from the Keras model's by {worst:.3g}; expected at most {most:.3g}"


def _incomparable(scores: "NDArray[np.float32]", labels: tuple[str, ...] | None, artifact: Artifact, expected: Expected) -> str:
    """Return why scores cannot be compared with those expected, or nothing."""
    import numpy as np

    if labels is not None and labels != expected.labels:
        return other_labels("the file", labels, expected.labels)
    if artifact.labels != expected.labels:
        return other_labels("its manifest", artifact.labels, expected.labels)
    if scores.shape != expected.probabilities.shape:
        return f"its output is {other_shape(scores.shape, expected.probabilities.shape)}"
    wrong = int((~np.isfinite(scores).all(axis=1)).sum())
    return f"its output is NaN or Inf for {wrong} of {len(scores)} images; expected numbers" if wrong else ""
