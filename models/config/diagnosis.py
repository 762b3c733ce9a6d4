# SPDX-License-Identifier: Apache-2.0
"""Is the contract itself right? The labels of the golden images know: another reading of the pixels may be right far more often.

Every artifact agrees with an original that was asked wrongly, so this is seen here or nowhere.
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
# McNemar's test: the images that one reading alone gets right, in standard deviations of a fair coin.
CERTAIN: Final = 3.0
BATCH: Final = 32

Predict = Callable[[Any], Any]


def doubt_order(spec: ModelSpec, predict: Predict, pixels: "NDArray[np.uint8]", classes: "NDArray[np.int64]") -> str | None:
    """Return a sentence where the other channel order is right on clearly more golden images, or None."""
    return _doubt(spec, predict, pixels, classes, _other_order(spec.preprocessing))


def doubt_all(spec: ModelSpec, predict: Predict, pixels: "NDArray[np.uint8]", classes: "NDArray[np.int64]") -> str | None:
    """Return a sentence where another channel order or value range is right on clearly more golden images, or None."""
    return _doubt(spec, predict, pixels, classes, _all_others(spec.preprocessing))


def _other_order(how: Preprocessing) -> "Iterator[tuple[str, Preprocessing, bool]]":
    if how.colour in OTHER_ORDER:
        yield f"input.colour = {OTHER_ORDER[how.colour]!r}", how, True


def _all_others(how: Preprocessing) -> "Iterator[tuple[str, Preprocessing, bool]]":
    yield from _other_order(how)
    for low, high in RANGES:
        mean, std = normalisation_of_range(low, high, how.channels)
        if (mean, std) != (how.mean, how.std):
            yield f"input.range = [{low:g}, {high:g}]", replace(how, mean=mean, std=std), False


def _doubt(
    spec: ModelSpec,
    predict: Predict,
    pixels: "NDArray[np.uint8]",
    classes: "NDArray[np.int64]",
    others: "Iterator[tuple[str, Preprocessing, bool]]",
) -> str | None:
    right = _right(predict, pixels, classes, spec.preprocessing)
    for name, how, turned in others:
        better = _right(predict, pixels[..., ::-1] if turned else pixels, classes, how)
        gained, lost = int((better & ~right).sum()), int((right & ~better).sum())
        if gained - lost > CERTAIN * (gained + lost) ** 0.5:
            rates = f"{better.mean():.1%} of the golden images, as the contract stands on {right.mean():.1%}"
            return f"With {name} it is right on {rates}."
    return None


def _right(
    predict: Predict, pixels: "NDArray[np.uint8]", classes: "NDArray[np.int64]", how: Preprocessing
) -> "NDArray[np.bool_]":
    import numpy as np

    starts = range(0, len(pixels), BATCH)
    answers = [np.asarray(predict(normalise(pixels[at : at + BATCH], how))).argmax(axis=1) for at in starts]
    right: NDArray[np.bool_] = np.concatenate(answers) == classes
    return right
