# SPDX-License-Identifier: Apache-2.0
"""The answers of two artifacts for the same images compared, and which differences chance does not explain."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.diff.result import Answers, DiffState, FlippedImage, ResultDiff, Truth
from edgeferry.benchmarks.parity.judging.metrics.accuracy import CHANCE
from edgeferry.benchmarks.parity.judging.verdict import answers_of, written_as_answers
from edgeferry.benchmarks.parity.outcome import FLIPS_KEPT
from edgeferry.models.binomial import sign_test
from edgeferry.models.decision import Decision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

CLASSES: Final[Truth] = "labels"


@dataclass(frozen=True)
class Known:
    """The right answer to each image, what it is known by, None where it is unknown, and how probabilities become an answer."""

    right: "NDArray[np.int64]"
    truth: Truth | None
    decision: Decision

    def of(self, images: list[int]) -> "Known":
        """Return the same for some of the images, by number."""
        return replace(self, right=self.right[images])


def compared_answers(old: "NDArray[np.float32]", new: "NDArray[np.float32]", known: Known) -> Answers:
    """Return how probabilities [count, classes] differ, and how often each is right."""
    import numpy as np

    apart = np.abs(old.astype(np.float64) - new).max(axis=1)
    decision, right, truth = known.decision, known.right, known.truth
    flipped = np.flatnonzero((decision.answers(old) != decision.answers(new)).any(axis=1))
    was, now = answers_of(decision, old), answers_of(decision, new)
    worst = flipped[np.argsort(-apart[flipped], kind="stable")][:FLIPS_KEPT]
    label = written_as_answers(right) if truth == CLASSES else [None] * len(old)
    judged = np.full(len(old), truth is not None)
    old_right, new_right = judged & decision.right(old, right), judged & decision.right(new, right)
    return Answers(
        images=len(old),
        flipped=len(flipped),
        mean_difference=float(apart.mean()),
        flips=tuple(FlippedImage(int(at), label[at], was[at], now[at], float(apart[at])) for at in worst),
        truth=truth,
        judged=int(judged.sum()),
        old_right=int(old_right.sum()),
        new_right=int(new_right.sum()),
        only_old=int((old_right & ~new_right).sum()),
        only_new=int((new_right & ~old_right).sum()),
    )


def decided(results: Sequence[ResultDiff]) -> tuple[ResultDiff, ...]:
    """Return results with their states: worse or better where an exact McNemar test shows it.

    All results together call something worse by mistake with a probability of at most CHANCE (Holm, Scandinavian Journal of
    Statistics 6, 1979), and better likewise. Results that have a state of another kind keep it.
    """
    measured = [each for each in results if each.answers is not None and each.answers.only_old + each.answers.only_new]
    worse = _shown([sign_test(each.answers.only_old, each.answers.only_new) for each in measured if each.answers])
    better = _shown([sign_test(each.answers.only_new, each.answers.only_old) for each in measured if each.answers])
    states = {id(each): (is_worse, is_better) for each, is_worse, is_better in zip(measured, worse, better, strict=True)}
    return tuple(_stated(each, *states.get(id(each), (False, False))) for each in results)


def _shown(chances: Sequence[float]) -> list[bool]:
    """Return which of several hypotheses that nothing changed are refused, by Holm's procedure."""
    shown = [False] * len(chances)
    for rank, at in enumerate(sorted(range(len(chances)), key=lambda at: chances[at])):
        if chances[at] > CHANCE / (len(chances) - rank):
            break
        shown[at] = True
    return shown


def _stated(result: ResultDiff, is_worse: bool, is_better: bool) -> ResultDiff:  # noqa: FBT001 - a pair of a table
    found = result.answers
    if found is None:
        return result
    if found.truth is None:
        chance, right = None, "what is right is unknown: the images have no labels, and the Keras models differ"
    else:
        chance = sign_test(found.only_old, found.only_new)
        right = f"{found.only_old} of {found.judged} images right in the old one alone, {found.only_new} in the new one alone"
    state: DiffState = "worse" if is_worse else "better" if is_better else "changed" if found.mean_difference else "same"
    return replace(
        result, state=state, chance=chance, reason=f"{found.flipped} of {found.images} images in another class; {right}"
    )
