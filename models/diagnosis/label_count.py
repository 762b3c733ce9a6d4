# SPDX-License-Identifier: Apache-2.0
"""Which label is missing or too many, where the config has one fewer or one more than the model has outputs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import ModelSpec
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
    predicted = np.concatenate([np.asarray(predict(batch)).argmax(axis=1) for batch in batches])
    known = classes[numbers]
    if outputs > len(spec.labels):
        # The first and the last output first: background classes are there.
        places = [0, len(spec.labels), *range(1, len(spec.labels))]
        right = [float((predicted == known + (known >= place)).mean()) for place in places]
    else:
        places = list(range(len(spec.labels)))
        right = [float(((predicted == known - (known > place)) & (known != place)).mean()) for place in places]
    best = max(range(len(places)), key=right.__getitem__)
    if right[best] < ABOVE_CHANCE:
        return ""
    return f"With {_words(spec, outputs, places[best])} it is right on {right[best]:.1%} of {len(known)} golden images."


def _words(spec: ModelSpec, outputs: int, place: int) -> str:
    if outputs < len(spec.labels):
        return f"the label {spec.labels[place]!r} removed, number {place + 1},"
    if place == 0:
        return f'a background class before them, labels = ["background", "{spec.labels[0]}", ...],'
    if place == len(spec.labels):
        return f"one more label after {spec.labels[-1]!r}"
    return f"one more label before {spec.labels[place]!r}, as number {place + 1},"
