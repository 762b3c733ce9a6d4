# SPDX-License-Identifier: Apache-2.0
"""Decodes a set of images into one file, an image at a time, and keeps what an audit needs of each."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.audit.finding import some_of
from edgeferry.models.images import ImageSet, opener
from edgeferry.models.preprocessing import Preprocessing, pixels_of
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

# The side of the gray thumbnails that near duplicates are found by.
SIDE: Final = 16
LEVELS: Final = 256


@dataclass(frozen=True)
class Decoded:
    """A set of images whose pixels were written to a file.

    ``digests`` holds one of each image's pixels, ``thumbnails`` [count, 256] gray ones of 16 x 16, ``histogram``
    [channels, 256] how many pixels have each value, ``roughness`` the mean difference of horizontal neighbours. ``damaged``
    holds an error for all files of a kind that cannot be read.
    """

    images: ImageSet
    digests: tuple[bytes, ...]
    thumbnails: "NDArray[np.uint8]"
    histogram: "NDArray[np.int64]"
    roughness: float
    damaged: tuple[EdgeError, ...]

    def name(self, number: int) -> str:
        """Return the file of an image, relative to the folder, or its number in an .npz file."""
        return self.images.name(number)


def write_pixels(images: ImageSet, how: Preprocessing, path: Path) -> Decoded:
    """Write all images as the config prepares them, before normalisation: uint8, [count, height, width, channels], an .npy file.

    No more than one image of a folder is in memory at a time. A file that cannot be read is left out and reported.

    Raises:
        EdgeError: an .npz file does not hold what it should.
    """
    import numpy as np

    count, original = opener(images)
    damaged: list[tuple[int, EdgeError]] = []
    digests, thumbnails = [], np.zeros((count, SIDE * SIDE), np.uint8)
    histogram, differences = np.zeros((how.channels, LEVELS), np.int64), 0.0
    shape = (count, how.height, how.width, how.channels)
    with path.open("wb") as file:
        header: dict[str, Any] = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for number in range(count):
            decoded = _decoded(original, number, how, damaged)
            if decoded is None:
                continue
            pixels, smaller_side = decoded
            file.write(pixels.tobytes())
            digests.append(hashlib.blake2b(pixels.tobytes(), digest_size=16).digest())
            # Pictures of fewer pixels are alike without being the same, such as digits of 8 x 8; they get no thumbnail.
            if smaller_side >= SIDE:
                thumbnails[number] = _thumbnail(pixels)
            for channel in range(how.channels):
                histogram[channel] += np.bincount(pixels[..., channel].reshape(-1), minlength=LEVELS)
            differences += float(np.abs(np.diff(pixels.astype(np.int16), axis=1)).mean()) if how.width > 1 else 0.0
    return Decoded(images, tuple(digests), thumbnails, histogram, differences / max(1, len(digests)), _errors(images, damaged))


def _decoded(
    original: "Callable[[int], Any]", number: int, how: Preprocessing, damaged: list[tuple[int, EdgeError]]
) -> "tuple[NDArray[np.uint8], int] | None":
    """Return an image's pixels and the smaller side of the picture itself, or None for one that is damaged."""
    try:
        picture = original(number)
        return pixels_of(picture, how), min(picture.size)
    except EdgeError as error:
        damaged.append((number, error))
        return None


def _thumbnail(pixels: "NDArray[np.uint8]") -> "NDArray[np.uint8]":
    import numpy as np
    from PIL import Image

    gray = pixels.mean(axis=2).astype(np.uint8)
    thumbnail: NDArray[np.uint8] = np.asarray(Image.fromarray(gray).resize((SIDE, SIDE), Image.Resampling.BOX)).reshape(-1)
    return thumbnail


def _errors(images: ImageSet, damaged: list[tuple[int, EdgeError]]) -> tuple[EdgeError, ...]:
    """Return one error for each kind of damage: the error itself for one file, or one that names them all."""
    kinds: dict[str, list[tuple[int, EdgeError]]] = {}
    for number, error in damaged:
        kinds.setdefault(error.code, []).append((number, error))
    return tuple(_one_error(images, found) for found in kinds.values())


def _one_error(images: ImageSet, found: list[tuple[int, EdgeError]]) -> EdgeError:
    first = found[0][1]
    if len(found) == 1:
        return first
    names = some_of([images.name(number) for number, _ in found], 20)
    return EdgeError(first.code, f"{images.path}: {len(found)} files cannot be used: {names}. The first: {first}")
