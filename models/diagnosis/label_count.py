# SPDX-License-Identifier: Apache-2.0
"""Which label is missing or too many, where the config has one fewer or one more than the model has outputs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import MULTILABEL, decision_of
from edgeferry.models.diagnosis.evidence import ABOVE_CHANCE
from edgeferry.models.preprocessing import normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH: Final = 32
MOST_IMAGES: Final = 1000


def label_count_hint(
    spec: ModelSpec, predict: Callable[[Any], Any], outputs: int, pixels: "NDArray[np.uint8]", classes: "NDArray[np.int64]"
) -> str:
    """Return a sentence that says where a label is missing or too many, by the model's predictions; nothing where unknown."""
    import numpy as np

    if abs(outputs - len(spec.labels)) != 1:
        return ""
    numbers = np.linspace(0, len(classes) - 1, min(len(classes), MOST_IMAGES)).astype(int)
    batches = [normalise(pixels[numbers[at : at + BATCH]], spec.preprocessing) for at in range(0, len(numbers), BATCH)]
    scores, known = np.concatenate([np.asarray(predict(batch)) for batch in batches]), classes[numbers]
    count = len(spec.labels)
    # The first and the last output first: background classes are there.
    places = [0, count, *range(1, count)] if outputs > count else list(range(count))
    several = known.ndim > 1
    rate = _right_in_columns if several else _right
    right = [rate(scores, known, place, spec) for place in places]
    best = max(range(len(places)), key=right.__getitem__)
    if right[best] < ABOVE_CHANCE:
        return ""
    what = "every label of " if several else ""
    return f"With {_words(spec, outputs, places[best])} it is right on {what}{right[best]:.1%} of {len(known)} golden images."


def _right(scores: "NDArray[np.float32]", known: "NDArray[np.int64]", place: int, spec: ModelSpec) -> float:
    """Return how often the best output is right, the label at a place missing or too many."""
    predicted = scores.argmax(axis=1)
    if scores.shape[1] > len(spec.labels):
        return float((predicted == known + (known >= place)).mean())
    return float(((predicted == known - (known > place)) & (known != place)).mean())


def _right_in_columns(scores: "NDArray[np.float32]", known: "NDArray[np.int64]", place: int, spec: ModelSpec) -> float:
    """Return how often every label is right where several can hold, the one at a place missing or too many."""
    import numpy as np

    decision = decision_of(MULTILABEL, spec.threshold)
    if scores.shape[1] > known.shape[1]:
        return float(decision.right(np.delete(scores, place, axis=1), known).mean())
    return float((decision.right(scores, np.delete(known, place, axis=1)) & (known[:, place] == 0)).mean())


def _words(spec: ModelSpec, outputs: int, place: int) -> str:
    if outputs < len(spec.labels):
        return f"the label {spec.labels[place]!r} removed, number {place + 1},"
    if place == 0:
        return f'a background class before them, labels = ["background", "{spec.labels[0]}", ...],'
    if place == len(spec.labels):
        return f"one more label after {spec.labels[-1]!r}"
    return f"one more label before {spec.labels[place]!r}, as number {place + 1},"
