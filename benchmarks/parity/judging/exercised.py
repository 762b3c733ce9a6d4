# SPDX-License-Identifier: Apache-2.0
"""What golden images one by one do not exercise: batches of different images, and files that an endpoint decodes itself."""

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.judging.sentences import other_shape
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.models.artifact import Artifact, Tolerance
from edgeferry.models.decision import probabilities_of
from edgeferry.models.golden.uploads import UPLOADED, files_in, kind_of
from edgeferry.targets.target import BatchedScores, Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# One file on one runtime: a batch only changes the order of sums, whatever the precision of the weights.
MOST_IN_A_BATCH: Final = 0.01


def also_judged(verdict: Verdict, run: Run, artifact: Artifact, reference: Path) -> Verdict:
    """Return a verdict with what a run's batches and uploads show; ``reference`` is the reference's folder."""
    problems = [problem for problem in (batch_problem(run, artifact), upload_problem(run, artifact, reference)) if problem]
    if not problems:
        return verdict
    before = [] if verdict.outcome != "failed" else [verdict.reason]
    return replace(verdict, outcome="failed", reason="; ".join([*before, *problems]))


def exercised(run: Run) -> dict[str, int]:
    """Return how many images also ran in batches and how many files were uploaded, for a row's environment."""
    batched = {} if run.batched is None else {"images_in_batches": len(run.batched.scores)}
    return batched | ({} if run.uploads is None else {"files_uploaded": len(run.uploads)})


def batch_problem(run: Run, artifact: Artifact) -> str:
    """Return how the scores of images in a batch differ from those of the same images one by one, or nothing."""
    import numpy as np

    if run.batched is None:
        return ""
    numbers = [at for batch in run.batched.batches for at in batch]
    places = numbers if run.image_indices is None else [run.image_indices.index(at) for at in numbers]
    expected = (len(numbers), *run.scores.shape[1:])
    if run.batched.scores.shape != expected or max(places) >= len(run.scores):
        return f"in batches its output is {other_shape(run.batched.scores.shape, expected)}"
    if not np.isfinite(run.batched.scores).all():
        return "in a batch its output is NaN or Inf; expected numbers"
    alone, together = (probabilities_of(scores, artifact.output) for scores in (run.scores[places], run.batched.scores))
    most = min(largest_difference(artifact.tolerance), MOST_IN_A_BATCH)
    apart = np.abs(together - alone).max(axis=1)
    wrong = int((apart > most).sum())
    if not wrong:
        return ""
    hint = ": each gets the scores of the batch's first image" if _repeats_the_first(together, run.batched, most) else ""
    return (
        f"in a batch {wrong} of {len(numbers)} images have other scores than alone{hint} "
        f"(a probability differs by {apart.max():.3g}; expected at most {most:.3g})"
    )


def largest_difference(tolerance: Tolerance) -> float:
    """Return how far a probability of one image may be off."""
    return tolerance.p99_difference


def _repeats_the_first(together: "NDArray[np.float32]", batched: BatchedScores, most: float) -> bool:
    import numpy as np

    sizes = [len(batch) for batch in batched.batches]
    firsts = np.repeat(np.cumsum([0, *sizes[:-1]]), sizes)
    return bool((np.abs(together - together[firsts]) <= most).all())


def upload_problem(run: Run, artifact: Artifact, reference: Path) -> str:
    """Return for which kinds of image files the probabilities are not the Keras model's, or nothing."""
    import numpy as np

    if run.uploads is None:
        return ""
    files, expected = files_in(reference), np.load(reference / UPLOADED, allow_pickle=False)
    if run.uploads.shape != expected.shape:
        return f"for uploaded files its output is {other_shape(run.uploads.shape, expected.shape)}"
    most = largest_difference(artifact.tolerance)
    # A file that was refused has no probabilities.
    apart = np.nan_to_num(np.abs(run.uploads - expected).max(axis=1), nan=np.inf).tolist()
    by_kind: dict[str, float] = {}
    for file, each in zip(files, apart, strict=True):
        by_kind[kind_of(file)] = max(each, by_kind.get(kind_of(file), 0.0))
    refused = [f"it gives no probabilities for {kind}" for kind, each in by_kind.items() if math.isinf(each)]
    off = [f"for {kind} a probability is off by {each:.3g}" for kind, each in by_kind.items() if most < each < math.inf]
    limit = [f"expected at most {most:.3g} from the Keras model's"] if off else []
    return "; ".join([*refused, *off, *limit])
