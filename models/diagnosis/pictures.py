# SPDX-License-Identifier: Apache-2.0
"""Some golden images, prepared in as many ways as readings need; each file is decoded once for all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeferry.models.diagnosis.readings import STORED, UPRIGHT, Reading, turned
from edgeferry.models.images import ImageSet, opener, size_and_orientation
from edgeferry.models.preprocessing import ORIENTATION, Preprocessing, normalise, pixels_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

# What decides how a file becomes pixels: the filter, the fit, and whether its EXIF orientation is obeyed.
Way = tuple[str, str, str]


@dataclass(frozen=True)
class Pictures:
    """Golden images by number, and what is known of their files; ``kept`` holds the pixels of each way they were prepared."""

    images: ImageSet
    numbers: tuple[int, ...]
    how: Preprocessing
    resized: bool
    reshaped: bool
    rotated: bool
    kept: "dict[Way, NDArray[np.uint8]]" = field(default_factory=dict)

    def prepare(self, readings: Iterable[Reading]) -> None:
        """Decode the images once for all ways of these readings that were not prepared yet."""
        import numpy as np

        ways = [way for way in dict.fromkeys(map(_way, readings)) if way not in self.kept]
        if not ways:
            return
        how, count = self.how, len(self.numbers)
        arrays = {way: np.empty((count, how.height, how.width, how.channels), np.uint8) for way in ways}
        _, original = opener(self.images)
        for at, number in enumerate(self.numbers):
            picture = original(number)
            for way, array in arrays.items():
                array[at] = _prepared(picture, how, way)
        self.kept.update(arrays)

    def inputs(self, reading: Reading) -> "NDArray[np.float32]":
        """Return what the model is given under a reading, [count, height, width, channels]."""
        self.prepare([reading])
        pixels = turned(self.kept[_way(reading)], reading.turn)
        return normalise(pixels if reading.how.colour == self.how.colour else pixels[..., ::-1], reading.how)


def look_at(images: ImageSet, numbers: Sequence[int], how: Preprocessing) -> Pictures:
    """Return some golden images by number, none of them decoded."""
    shape = how.width, how.height
    facts = [
        (size if orientation < 5 else size[::-1], orientation) for size, orientation in size_and_orientation(images, numbers)
    ]
    return Pictures(
        images,
        tuple(numbers),
        how,
        resized=any(size != shape for size, _ in facts),
        reshaped=any(size[0] * shape[1] != size[1] * shape[0] for size, _ in facts),
        rotated=any(orientation != 1 for _, orientation in facts),
    )


def chosen_by_class(classes: "NDArray[np.int64]", most: int) -> tuple[int, ...]:
    """Return the numbers of at most so many images, evenly from all classes and from all places within a class, in order."""
    import numpy as np

    if len(classes) <= most:
        return tuple(range(len(classes)))
    # The first of every class, the second of every class and so on, each class's own order spread over all of its places.
    queue = []
    for each in np.unique(classes):
        numbers = np.flatnonzero(classes == each)
        queue += [(rank, int(number)) for rank, number in enumerate(numbers[_spread(len(numbers), most)])]
    return tuple(sorted(number for _, number in sorted(queue)[:most]))


def _spread(count: int, most: int) -> "NDArray[np.int64]":
    """Return places from 0 to ``count``, those first that halve what is between the others: at most so many."""
    import numpy as np

    golden = (np.arange(count) * 0.6180339887498949) % 1
    places: NDArray[np.int64] = np.argsort(np.argsort(golden))[:most]
    return places


def _way(reading: Reading) -> Way:
    return reading.how.resize, reading.how.fit, STORED if reading.turn == STORED else UPRIGHT


def _prepared(picture: "Image.Image", how: Preprocessing, way: Way) -> "NDArray[np.uint8]":
    resize, fit, orientation = way
    if orientation == STORED:
        picture = picture.copy()
        picture.getexif()[ORIENTATION] = 1
    return pixels_of(picture, replace(how, resize=resize, fit=fit))
