# SPDX-License-Identifier: Apache-2.0
"""Hypotheses about the image that an artifact sees: the Keras model is run on changed images and compared with the artifact."""

from collections.abc import Callable, Iterator
from itertools import permutations
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.explain.outputs import Fit, mean_difference
from edgeferry.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Images = NDArray[np.float32]
    Predict = Callable[[Images], NDArray[np.float32]]
    # A hypothesis, and the images as it has them.
    Tried = tuple[Fit, Images]

# By how many pixels an image may be moved.
MOVES: Final = (1, 2)
SCALES: Final = (2.0, 0.5, 1 / 255, 255.0, 1 / 127.5, 127.5)
# Contrast is searched between these factors, brightness between these parts of the range from black to white.
CONTRASTS: Final = (0.8, 1.25)
BRIGHTNESSES: Final = (-0.25, 0.25)
SEARCHED: Final = 7
REFINED: Final = 3
# All are tried on a few images, the best on all.
FEW: Final = 8
BEST: Final = 5


def input_fits(images: "Images", found: "NDArray[np.float32]", predict: "Predict", how: Preprocessing) -> "Iterator[Tried]":
    """Yield the hypotheses that fit best, each with its fit and the images as it has them.

    ``images`` are normalised, ``found`` the artifact's probabilities for them, ``predict`` the Keras model's for any images.
    """
    few = slice(FEW)

    def left(changed: "Images", some: slice) -> float:
        return mean_difference(found[some], predict(changed))

    factor = _searched(lambda factor: left(images[few] * factor, few), CONTRASTS)
    reach = _reach(how)
    part = _searched(lambda part: left(images[few] + part * reach, few), BRIGHTNESSES)
    every = [
        *_changes(images, how),
        (f"its input values are multiplied by {factor:.2f}", images * factor),
        (f"its images are {100 * abs(part):.0f} % {'brighter' if part > 0 else 'darker'}", images + part * reach),
    ]
    for sentence, changed in sorted(every, key=lambda each: left(each[1][few], few))[:BEST]:
        yield Fit("preprocessing", sentence, left(changed, slice(None))), changed


def _changes(images: "Images", how: Preprocessing) -> "Iterator[tuple[str, Images]]":
    import numpy as np

    yield from _colours(images, how)
    yield "its images are mirrored left to right", images[:, :, ::-1]
    yield "its images are upside down", images[:, ::-1]
    yield "its images are turned by 180 degrees", images[:, ::-1, ::-1]
    if how.height == how.width:
        yield "rows and columns of its images are exchanged", images.swapaxes(1, 2)
    for amount in MOVES:
        for down, right in ((0, 1), (1, 0), (1, 1), (0, -1), (-1, 0), (-1, -1)):
            moved = _moved(images, down * amount, right * amount)
            yield f"its images are moved by {down * amount} rows and {right * amount} columns", moved
    for scale in SCALES:
        yield f"its input values are multiplied by {scale:.4g}", (images * scale).astype(np.float32)
    white: Any = (255 - np.asarray(how.mean, np.float32)) / np.asarray(how.std, np.float32)
    black = -np.asarray(how.mean, np.float32) / np.asarray(how.std, np.float32)
    yield "its input has the upper half of the range alone, such as [0, 1] for [-1, 1]", 0.5 * images + 0.5 * white
    yield (
        "its input is stretched to twice the range, such as [-1, 1] for [0, 1]",
        black + 2 * (images - 0.5 * white - 0.5 * black),
    )
    yield "its images are blurred", _blurred(images)


def _colours(images: "Images", how: Preprocessing) -> "Iterator[tuple[str, Images]]":
    import numpy as np

    if how.channels != 3:
        return
    names = {"rgb": ("red", "green", "blue"), "bgr": ("blue", "green", "red")}[how.colour]
    for order in list(permutations(range(3)))[1:]:
        yield f"its channels are in the order {', '.join(names[at] for at in order)}", images[..., list(order)]
    gray: Any = images.mean(axis=-1, keepdims=True, dtype=np.float32)
    yield "its images are gray", images * 0 + gray
    for part in (0.3, 0.6):
        yield f"the colours of its images are faded by {100 * part:.0f} %", (1 - part) * images + part * gray


def _moved(images: "Images", down: int, right: int) -> "Images":
    import numpy as np

    around = [(0, 0), (max(down, 0), max(-down, 0)), (max(right, 0), max(-right, 0)), (0, 0)]
    padded = np.pad(images, around)
    height, width = images.shape[1:3]
    top, left = max(-down, 0), max(-right, 0)
    return padded[:, top : top + height, left : left + width]


def _blurred(images: "Images") -> "Images":
    import numpy as np

    padded = np.pad(images, [(0, 0), (1, 1), (1, 1), (0, 0)], mode="edge")
    height, width = images.shape[1:3]
    parts: Any = [padded[:, down : down + height, right : right + width] for down in range(3) for right in range(3)]
    blurred: Images = np.mean(parts, axis=0, dtype=np.float32)
    return blurred


def _reach(how: Preprocessing) -> Any:
    import numpy as np

    return (255 / np.asarray(how.std, np.float32)).astype(np.float32)


def _searched(left: Callable[[float], float], limits: tuple[float, float]) -> float:
    """Return the amount that leaves the least, found on ever finer grids."""
    import numpy as np

    low, high = limits
    amount = 0.0
    for _ in range(REFINED):
        grid = np.linspace(low, high, SEARCHED)
        at = int(np.argmin([left(float(each)) for each in grid]))
        amount = float(grid[at])
        low, high = float(grid[max(at - 1, 0)]), float(grid[min(at + 1, SEARCHED - 1)])
    return amount
