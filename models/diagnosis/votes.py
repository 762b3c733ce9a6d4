# SPDX-License-Identifier: Apache-2.0
"""What a model's predictions say about which of its outputs belongs to which label."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from edgeferry.models.decision import Decision

# For each output the place of its label in the config's list.
Order = tuple[int, ...]
# An output speaks for a label by at least so many images, and of several labels so many standard errors beyond chance.
LEAST_OF_CLASS: Final = 3
STANDARD_ERRORS: Final = 3.0
# Equal probabilities are ranked at random, not by the order of the images, which their labels may follow.
SEED: Final = 0


@dataclass(frozen=True)
class Votes:
    """How many images speak for each label's place at each output, [labels, outputs], chance left out.

    ``least`` is how many make a label's vote, [labels]. ``right`` returns how many labels of each image are at the right output
    under an order, [count].
    """

    counts: "NDArray[np.float64]"
    least: "NDArray[np.float64]"
    right: "Callable[[Order | None], NDArray[np.int64]]"


def outputs_of(truth: "NDArray[np.int64]", order: Order | None) -> "NDArray[np.int64]":
    """Return the true output of each image, [count], or 0 and 1 for each of its outputs, for labels in the config's order."""
    import numpy as np

    if order is None:
        return truth
    return truth[:, list(order)] if truth.ndim > 1 else np.argsort(np.array(order))[truth]


def votes_of(probabilities: "NDArray[np.float32]", truth: "NDArray[np.int64]", decision: "Decision") -> Votes:
    """Return the votes in a model's probabilities, [count, outputs]."""
    if decision.is_multilabel:
        return votes_of_columns(probabilities, truth)
    return votes_of_classes(decision.classes(probabilities), truth, probabilities.shape[1])


def votes_of_classes(predicted: "NDArray[np.int64]", classes: "NDArray[np.int64]", count: int) -> Votes:
    """Return the votes of one predicted output for each image, [count]."""
    import numpy as np

    confusion = np.zeros((count, count))
    np.add.at(confusion, (classes, predicted), 1)
    least = np.full(count, float(LEAST_OF_CLASS))
    return Votes(confusion, least, lambda order: (predicted == outputs_of(classes, order)).astype(np.int64))


def votes_of_columns(probabilities: "NDArray[np.float32]", truth: "NDArray[np.int64]") -> Votes:
    """Return the votes of independent labels: an output is taken to hold on as many images as the label does.

    So neither a threshold nor an output that always or never holds decides which label it belongs to.
    """
    import numpy as np

    images, held = len(truth), truth.astype(bool)
    draw = np.random.default_rng(SEED).permutation(images)
    ranks = np.empty(probabilities.shape, np.int64)
    ranks[draw] = (-probabilities[draw]).argsort(axis=0, kind="stable").argsort(axis=0)
    often = held.sum(axis=0)
    hits = np.stack([(ranks[held[:, at]] < count).sum(axis=0) for at, count in enumerate(often)])
    # Hits by chance are hypergeometric.
    error = often * (images - often) / (images * max(1.0, images - 1.0) ** 0.5)

    def right(order: Order | None) -> "NDArray[np.int64]":
        label_of = np.arange(len(often)) if order is None else np.array(order)
        same: NDArray[np.int64] = ((ranks < often[label_of]) == held[:, label_of]).sum(axis=1)
        return same

    return Votes(hits - (often**2 / images)[:, None], np.maximum(LEAST_OF_CLASS, STANDARD_ERRORS * error), right)
