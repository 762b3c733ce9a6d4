# SPDX-License-Identifier: Apache-2.0
"""How probabilities become an answer: the most probable label, or, where several can hold, each that reaches a threshold.

An answer is a row of bools, one per label. The true labels of images are class numbers, [count], or, of a multi-label classifier,
0 and 1, [count, labels]. The serving container carries a copy of this module.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The kind of output of a classifier whose labels hold independently of each other, one sigmoid each.
MULTILABEL: Final = "multilabel"
THRESHOLD: Final = 0.5
# Where the Keras model's own probabilities are this close to another answer, float32 rounding decides.
TIE: Final = 1e-4


@dataclass(frozen=True)
class Decision:
    """``threshold`` is the probability from which a label holds; of two classes, from which the second is the answer.

    Without one the most probable label is the answer.
    """

    is_multilabel: bool = False
    threshold: float | None = None

    def answers(self, probabilities: "NDArray[np.float32]") -> "NDArray[np.bool_]":
        """Return which labels hold, [count, labels], for probabilities of the same shape; the first of equals."""
        import numpy as np

        found: NDArray[np.bool_]
        if self.is_multilabel:
            found = probabilities >= (THRESHOLD if self.threshold is None else self.threshold)
        elif self.threshold is not None:
            second = probabilities[:, 1] >= self.threshold
            found = np.stack([~second, second], axis=1)
        else:
            found = np.arange(probabilities.shape[1]) == probabilities.argmax(axis=1)[:, None]
        return found

    def margins(self, probabilities: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Return how far each image's probabilities are from another answer, [count]; of all labels, the nearest one."""
        import numpy as np

        found: NDArray[np.float32]
        if self.is_multilabel:
            found = np.abs(probabilities - (THRESHOLD if self.threshold is None else self.threshold)).min(axis=1)
        elif self.threshold is not None:
            found = 2 * np.abs(probabilities[:, 1] - np.float32(self.threshold))
        else:
            two = np.partition(probabilities, -2, axis=1)[:, -2:]
            found = two[:, 1] - two[:, 0]
        return found

    def groups(self, probabilities: "NDArray[np.float32]") -> "NDArray[np.int64]":
        """Return a number for each image's answer, [count], the same for the same answer; the class number of one label."""
        return groups_of(self.answers(probabilities).astype(int)) if self.is_multilabel else self.classes(probabilities)

    def classes(self, probabilities: "NDArray[np.float32]") -> "NDArray[np.int64]":
        """Return the answers as true labels are: class numbers, [count], or of several labels 0 and 1, [count, labels]."""
        answers = self.answers(probabilities)
        found: NDArray[np.int64] = answers.astype("int64") if self.is_multilabel else answers.argmax(axis=1)
        return found

    def right(self, probabilities: "NDArray[np.float32]", truth: "NDArray[np.int64]") -> "NDArray[np.bool_]":
        """Return for each image whether its answer is the true one, every label of it, [count]."""
        same = self.classes(probabilities) == truth
        found: NDArray[np.bool_] = same.all(axis=1) if self.is_multilabel else same
        return found

    def agreement(self, probabilities: "NDArray[np.float32]", reference: "NDArray[np.float32]") -> "NDArray[np.bool_]":
        """Return whether answers are those of a reference, [count, 1], or of several labels for each of them, [count, labels].

        An answer that the reference itself finds as probable, within TIE, is the same too.
        """
        import numpy as np

        found, expected = self.answers(probabilities), self.answers(reference)
        if self.is_multilabel:
            limit = THRESHOLD if self.threshold is None else self.threshold
            each: NDArray[np.bool_] = (found == expected) | (np.abs(reference - limit) < TIE)
            return each
        same: NDArray[np.bool_] = (found == expected).all(axis=1)
        if self.threshold is None:
            same |= reference.max(axis=1) - (reference * found).max(axis=1) < TIE
        else:
            same |= np.abs(reference[:, 1] - self.threshold) < TIE
        return same[:, None]


ONE_LABEL: Final = Decision()


def groups_of(truth: "NDArray[np.int64]") -> "NDArray[np.int64]":
    """Return a number for each image's true labels, [count], the same for the same ones."""
    import numpy as np

    return truth if truth.ndim == 1 else np.unique(truth, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)


def without_logits(output: str) -> str:
    """Return the kind of an output whose logits, if it has any, became probabilities."""
    return MULTILABEL if output == MULTILABEL else "probabilities"


def decision_of(output: str, threshold: float | None) -> Decision:
    """Return how a classifier with this kind of output decides."""
    return Decision(output == MULTILABEL, threshold)


def softmax(logits: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return each row's exponentials over their sum, the largest logit subtracted first."""
    import numpy as np

    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def probabilities_of(scores: "NDArray[np.float32]", output: str) -> "NDArray[np.float32]":
    """Return the probabilities, [count, classes], that scores are or stand for; ``output`` is their kind, such as 'logits'."""
    return softmax(scores) if output == "logits" else scores
