# SPDX-License-Identifier: Apache-2.0
"""The order in which golden images are worth most where only some can be run: every class in turn, unsure images first."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.models.decision import ONE_LABEL, Decision

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The file below build/<model>/reference/.
ORDER: Final = "order.npy"
# The margin of the Keras model's answer below which a sound 8-bit file may name the other class: EfficientNet-Lite0 in
# tflite-int8 differs by up to 0.23. Such images come last, or a few of them would decide.
LEAST_MARGIN: Final = 0.2


def order_of(
    scores: "NDArray[np.float32]", labels: "NDArray[np.int64] | None", decision: Decision = ONE_LABEL
) -> "NDArray[np.int64]":
    """Return the numbers of all images, [count]: one of each class, then a second of each, and so on.

    A class is what the Keras model predicts, of a multi-label classifier the set of labels; a class that it never predicts is
    taken from the labels. Within a class the smallest margin comes first, as far as it is at least LEAST_MARGIN.
    """
    import numpy as np

    margins, predicted = decision.margins(scores), decision.groups(scores)
    classes = predicted if labels is None or decision.is_multilabel else np.where(np.isin(labels, predicted), predicted, labels)
    worth = np.lexsort((np.where(margins < LEAST_MARGIN, -margins, margins), margins < LEAST_MARGIN))
    taken = dict.fromkeys(classes.tolist(), 0)
    rounds = np.empty(len(scores), dtype=np.int64)
    for at in worth.tolist():
        rounds[at] = taken[int(classes[at])]
        taken[int(classes[at])] += 1
    ordered: NDArray[np.int64] = worth[np.argsort(rounds[worth], kind="stable")]
    return ordered


def read_order(reference: Path | None, count: int) -> list[int]:
    """Return the order of the golden images kept in a reference's folder; that of all images themselves where there is none.

    ``count`` is the number of all images, the golden ones first.
    """
    import numpy as np

    file = None if reference is None else reference / ORDER
    order = np.load(file, allow_pickle=False).tolist() if file is not None and file.is_file() else []
    is_whole = 0 < len(order) <= count and sorted(order) == list(range(len(order)))
    return [int(at) for at in order] if is_whole else list(range(count))
