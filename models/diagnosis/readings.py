# SPDX-License-Identifier: Apache-2.0
"""The readings of a config that are tried: how else its images could have been prepared for the model, and what to write then."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from edgeferry.models.config.spec import FITS, RESIZES, normalisation_of_range
from edgeferry.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RANGES: Final = ((0.0, 255.0), (0.0, 1.0), (-1.0, 1.0))
OTHER_ORDER: Final = {"rgb": "bgr", "bgr": "rgb"}
# ImageNet's mean and standard deviation in RGB (torchvision's, times 255), and Caffe's means in BGR, which has no deviation.
IMAGENET: Final = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
CAFFE: Final = ((103.939, 116.779, 123.68), (1.0, 1.0, 1.0))
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]

UPRIGHT: Final = "as EXIF says"
STORED: Final = "as stored"
# What each does to pixels [count, height, width, channels]; those of the second row need square ones.
TURNS: Final = {
    "mirrored left to right": (False, 1, -1),
    "mirrored top to bottom": (False, -1, 1),
    "turned by 180 degrees": (False, -1, -1),
    "transposed": (True, 1, 1),
    "turned by 90 degrees to the left": (True, -1, 1),
    "turned by 90 degrees to the right": (True, 1, -1),
    "transposed along the other diagonal": (True, -1, -1),
}


@dataclass(frozen=True)
class Reading:
    """One reading of a config: how images are prepared, how they are turned, and which label each output of the model has.

    ``order`` holds for each output the place of its label in the config's list; None is the list as it is.
    """

    how: Preprocessing
    turn: str = UPRIGHT
    order: tuple[int, ...] | None = None

    def reverts(self, other: "Reading") -> "Iterator[tuple[str, Reading]]":
        """Yield for each part of a reading its name and this reading with that part as in the other."""
        how, was = self.how, other.how
        yield "normalisation", replace(self, how=replace(how, mean=was.mean, std=was.std))
        yield "colour", replace(self, how=replace(how, colour=was.colour))
        yield "resize", replace(self, how=replace(how, resize=was.resize))
        yield "fit", replace(self, how=replace(how, fit=was.fit))
        yield "turn", replace(self, turn=other.turn)
        yield "labels", replace(self, order=other.order)


def alternatives(reading: Reading, *, resized: bool, reshaped: bool, rotated: bool, integers: bool = False) -> Iterator[Reading]:
    """Yield every reading that differs in one part; channel order and value range, which go together, count as one.

    ``resized``, ``reshaped`` and ``rotated`` say whether any image is resized, changes its aspect, or has an EXIF rotation;
    ``integers`` whether the model takes whole numbers, so that its range can only be that of pixels.
    """
    how = reading.how
    tried = [(how.mean, how.std), normalisation_of_range(0, 255, how.channels)] if integers else list(normalisations(how))
    for colour in (how.colour, OTHER_ORDER.get(how.colour, how.colour)):
        for mean, std in tried:
            yield replace(reading, how=replace(how, colour=colour, mean=mean, std=std))
    yield from (replace(reading, how=replace(how, resize=resize)) for resize in RESIZES if resized)
    yield from (replace(reading, how=replace(how, fit=fit)) for fit in FITS if reshaped)
    square = how.height == how.width
    turns = [turn for turn, (transposed, _, _) in TURNS.items() if square or not transposed]
    yield from (replace(reading, turn=turn) for turn in (UPRIGHT, *([STORED] if rotated else []), *turns))


def log_prior(reading: Reading, start: Reading) -> float:
    """Return by how many nats less a reading is expected than the config's own and the usual ones; it decides between equals."""
    how, was = reading.how, start.how
    cost = 0.0 if how.resize == was.resize or "bilinear" in how.resize else 1.0
    if (how.mean, how.std) != (was.mean, was.std):
        ranges = [normalisation_of_range(low, high, how.channels) for low, high in RANGES]
        cost += 0.5 if (how.mean, how.std) in ranges else 1.5
    cost += 1.0 * (how.colour != was.colour) + 1.0 * (how.fit != was.fit) + 5.0 * (reading.turn != start.turn)
    return -cost


def normalisations(how: Preprocessing) -> Iterator[Normalisation]:
    """Yield the means and deviations that are tried, the config's own first."""
    yield how.mean, how.std
    yield from (normalisation_of_range(low, high, how.channels) for low, high in RANGES)
    if how.channels == 3:
        for mean, std in ((how.mean, how.std), IMAGENET, CAFFE):
            yield mean[::-1], std[::-1]
            yield mean, std


def turned(pixels: "NDArray[np.uint8]", turn: str) -> "NDArray[np.uint8]":
    """Return images [count, height, width, channels] turned."""
    if turn not in TURNS:
        return pixels
    transposed, rows, columns = TURNS[turn]
    return (pixels.swapaxes(1, 2) if transposed else pixels)[:, ::rows, ::columns]


def input_lines(how: Preprocessing, was: Preprocessing) -> list[str]:
    """Return the lines of the config's table [input] that differ."""
    lines = [f'{key} = "{getattr(how, key)}"' for key in ("colour", "resize", "fit") if getattr(how, key) != getattr(was, key)]
    if (how.mean, how.std) == (was.mean, was.std):
        return lines
    for low, high in RANGES:
        if (how.mean, how.std) == normalisation_of_range(low, high, how.channels):
            return [*lines, f"range = [{low:g}, {high:g}]"]
    return [*lines, f"mean = {list(how.mean)}", f"std = {list(how.std)}"]
