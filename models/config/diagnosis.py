# SPDX-License-Identifier: Apache-2.0
"""Finds a config that does not fit its model, by the labels of the golden images: another preprocessing is right far more often.

Every artifact agrees with a Keras model that was given wrong inputs, so no later check can see this mistake.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import ModelSpec, normalisation_of_range
from edgeferry.models.preprocessing import Preprocessing, normalise

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RANGES: Final = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
OTHER_ORDER: Final = {"rgb": "bgr", "bgr": "rgb"}
# McNemar's test: the images that only one of two preprocessings gets right, in standard deviations of a fair coin.
CERTAIN: Final = 3.0
BATCH: Final = 32

Predict = Callable[[Any], Any]


def better_channel_order(
    spec: ModelSpec, predict: Predict, pixels: "NDArray[np.uint8]", classes: "NDArray[np.int64]"
) -> str | None:
    """Return a sentence where the other channel order is right on clearly more golden images, or None."""
    return _better(spec, predict, pixels, classes, _other_order(spec.preprocessing))


def better_preprocessing(
    spec: ModelSpec, predict: Predict, pixels: "NDArray[np.uint8]", classes: "NDArray[np.int64]"
) -> str | None:
    """Return a sentence where another channel order or value range is right on clearly more golden images, or None."""
    return _better(spec, predict, pixels, classes, _all_others(spec.preprocessing))


def _other_order(how: Preprocessing) -> "Iterator[tuple[str, Preprocessing, bool]]":
    if how.colour in OTHER_ORDER:
        yield f"input.colour = {OTHER_ORDER[how.colour]!r}", how, True


def _all_others(how: Preprocessing) -> "Iterator[tuple[str, Preprocessing, bool]]":
    yield from _other_order(how)
    for low, high in RANGES:
        mean, std = normalisation_of_range(low, high, how.channels)
        if (mean, std) != (how.mean, how.std):
            yield f"input.range = [{low:g}, {high:g}]", replace(how, mean=mean, std=std), False


def _better(
    spec: ModelSpec,
    predict: Predict,
    pixels: "NDArray[np.uint8]",
    classes: "NDArray[np.int64]",
    others: "Iterator[tuple[str, Preprocessing, bool]]",
) -> str | None:
    right = _right(predict, pixels, classes, spec.preprocessing)
    for name, how, swapped in others:
        better = _right(predict, pixels[..., ::-1] if swapped else pixels, classes, how)
        gained, lost = int((better & ~right).sum()), int((right & ~better).sum())
        if gained - lost > CERTAIN * (gained + lost) ** 0.5:
            rates = f"{better.mean():.1%} of the golden images, with the config as it is on {right.mean():.1%}"
            return f"With {name} it is right on {rates}."
    return None


def _right(
    predict: Predict, pixels: "NDArray[np.uint8]", classes: "NDArray[np.int64]", how: Preprocessing
) -> "NDArray[np.bool_]":
    import numpy as np

    starts = range(0, len(pixels), BATCH)
    predicted = [np.asarray(predict(normalise(pixels[at : at + BATCH], how))).argmax(axis=1) for at in starts]
    right: NDArray[np.bool_] = np.concatenate(predicted) == classes
    return right
