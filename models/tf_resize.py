# SPDX-License-Identifier: Apache-2.0
"""``tf.image.resize`` without antialias, for 8-bit images; the serving container carries a copy of this module.

The float32 arithmetic of TensorFlow's CPU kernels (resize_bilinear_op.cc, resize_bicubic_op.cc, resize_nearest_neighbor_op.cc,
with half-pixel centres), operation by operation, then rounded as ``tf.round`` does: half to even. TensorFlow itself returns
numbers with a fraction, so a pixel differs by at most one half from its result, clipped to 0..255.
targets/web/demo/tf_resize.js does the same in JavaScript, to the bit.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

Size = tuple[int, int]
Box = tuple[int, int, int, int]

# Weights of the bicubic filter are looked up at multiples of 1 / 1024, and its a is -0.5 (Keys), as in resize_bicubic_op.cc.
TABLE: Final = 1024
A: Final = -0.5
# Pixels that are read or written at a time, which bounds the memory that a large image takes.
PIXELS_AT_A_TIME: Final = 2**18


@dataclass(frozen=True)
class Taps:
    """Which old pixels each new pixel of one axis is made of: places and float32 weights, each [taps, new length]."""

    places: "NDArray[np.intp]"
    weights: "NDArray[np.float32]"


@dataclass(frozen=True)
class Method:
    """A way to resize: the taps for an old and a new length, what they become, and whether columns are resized before rows."""

    taps: Callable[[int, int], Taps]
    mixed: "Callable[[Sequence[NDArray[np.float32]], NDArray[np.float32]], NDArray[np.float32]]"
    columns_first: bool = True


def fitted(picture: "Image.Image", size: Size, method: str, fit: str) -> "NDArray[np.uint8]":
    """Return a gray or RGB image as pixels of a size (width, height), uint8, [height, width, channels].

    ``fit`` is ``stretch``; ``crop``, the box of ``image_dataset_from_directory(crop_to_aspect_ratio=True)``; or ``pad``, as
    ``tf.image.resize_with_pad``.
    """
    import numpy as np

    if fit == "crop":
        return resized(picture, size, method, largest_centred(picture.size, size))
    if fit != "pad":
        return resized(picture, size, method, (0, 0, *picture.size))
    (left, upper), (width, height) = padding(picture.size, size)
    pixels = np.zeros((size[1], size[0], len(picture.getbands())), dtype=np.uint8)
    if width and height:
        pixels[upper : upper + height, left : left + width] = resized(picture, (width, height), method, (0, 0, *picture.size))
    return pixels


def resized(picture: "Image.Image", size: Size, method: str, box: Box) -> "NDArray[np.uint8]":
    """Return the part ``box`` (left, upper, right, lower) of a gray or RGB image, resized to (width, height).

    Returns:
        uint8, [height, width, channels].
    """
    import numpy as np

    (width, height), (left, upper, right, lower), how = size, box, METHODS[method]
    channels = len(picture.getbands())
    across, down = _of_channels(channels, how.taps(right - left, width)), how.taps(lower - upper, height)
    pixels = np.empty((height, width * channels), dtype=np.uint8)
    for rows in _bands(height, max(width, (right - left) * math.ceil((lower - upper) / height))):
        places = down.places[:, rows]
        top, bottom = int(places.min()), int(places.max()) + 1
        part = np.asarray(picture.crop((left, upper + top, right, upper + bottom))).reshape(bottom - top, -1)
        band = Taps(places - top, down.weights[:, rows])
        pixels[rows] = _interpolated(part, across, band, how)
    return pixels.reshape(height, width, channels)


def largest_centred(old: Size, new: Size) -> Box:
    """Return the box of the largest centred part with the aspect of ``new``, in whole pixels, as Keras's smart_resize does."""
    (width, height), (new_width, new_height) = old, new
    part_width = max(min(width, height * new_width // new_height), 1)
    part_height = max(min(height, width * new_height // new_width), 1)
    left, upper = (width - part_width) // 2, (height - part_height) // 2
    return left, upper, left + part_width, upper + part_height


def padding(old: Size, new: Size) -> tuple[Size, Size]:
    """Return where the whole image stands inside ``new``, (left, upper), and its size there, as tf.image.resize_with_pad does.

    Float32 like there: a quotient that is just below a whole number leaves one black line.
    """
    import numpy as np

    before, after = np.asarray(old, dtype=np.float32), np.asarray(new, dtype=np.float32)
    inner = before / (before / after).max()
    corner = np.maximum(np.floor((after - inner) / 2), 0)
    (left, upper), (width, height) = corner.astype(int).tolist(), np.floor(inner).astype(int).tolist()
    return (left, upper), (width, height)


def _of_channels(channels: int, taps: Taps) -> Taps:
    """Return the taps of pixels as those of the values that interleaved channels have."""
    import numpy as np

    places = (taps.places[..., None] * channels + np.arange(channels)).reshape(len(taps.places), -1)
    return Taps(places, taps.weights.repeat(channels, axis=1))


def _bands(height: int, pixels_of_a_row: int) -> Iterator[slice]:
    step = max(PIXELS_AT_A_TIME // pixels_of_a_row, 1)
    return (slice(start, min(start + step, height)) for start in range(0, height, step))


def _interpolated(part: "NDArray[np.uint8]", across: Taps, down: Taps, how: Method) -> "NDArray[np.uint8]":
    """Return [new rows, new columns x channels] of [old rows, old columns x channels]; ``across`` has taps of all channels."""
    import numpy as np

    first, second, axis = (across, down, 1) if how.columns_first else (down, across, 0)
    kept = np.unique(second.places)
    once = _along(axis, part.take(kept, 1 - axis), first, how)
    twice = _along(1 - axis, once, Taps(np.searchsorted(kept, second.places), second.weights), how)
    pixels: NDArray[np.uint8] = np.rint(twice).clip(0, 255).astype(np.uint8)
    return pixels


def _along(axis: int, values: "NDArray[Any]", taps: Taps, how: Method) -> "NDArray[np.float32]":
    import numpy as np

    read = [values.take(places, axis).astype(np.float32, copy=False) for places in taps.places]
    return how.mixed(read, taps.weights if axis else taps.weights[..., None])


def _places(old: int, new: int, shift: float) -> "NDArray[np.float32]":
    """Return where the centre of each new pixel is among the old ones, plus ``shift``."""
    import numpy as np

    scale = np.float32(old) / np.float32(new)
    places: NDArray[np.float32] = (np.arange(new, dtype=np.float32) + np.float32(0.5)) * scale + np.float32(shift)
    return places


def _taps_nearest(old: int, new: int) -> Taps:
    import numpy as np

    places = np.minimum(np.floor(_places(old, new, 0)).astype(np.intp), old - 1)
    return Taps(places[None], np.empty((0, new), np.float32))


def _taps_bilinear(old: int, new: int) -> Taps:
    import numpy as np

    places = _places(old, new, -0.5)
    below = np.floor(places)
    ends = np.maximum(below, 0), np.minimum(np.ceil(places), old - 1)
    return Taps(np.stack(ends).astype(np.intp), (places - below)[None])


def _taps_bicubic(old: int, new: int) -> Taps:
    """Return four taps; those outside of the image have no weight, and the others are divided by their sum."""
    import numpy as np

    centres = _places(old, new, -0.5)
    below = np.floor(centres)
    offsets = np.rint((centres - below) * np.float32(TABLE)).astype(np.intp)
    near, far = _cubic_weights()
    weights = np.stack([far[offsets], near[offsets], near[TABLE - offsets], far[TABLE - offsets]])
    places = below.astype(np.intp) + np.arange(-1, 3)[:, None]
    inside = places.clip(0, old - 1)
    weights[places != inside] = 0
    total = weights[0] + weights[1] + weights[2] + weights[3]
    return Taps(inside, weights * (np.float32(1) / total))


def _cubic_weights() -> "tuple[NDArray[np.float32], NDArray[np.float32]]":
    """Return the weights of the pixels at a distance of 0 to 1 and of 1 to 2, in steps of 1 / TABLE."""
    import numpy as np

    near = np.arange(TABLE + 1) / TABLE
    far = near + 1
    return (
        (((A + 2) * near - (A + 3)) * near * near + 1).astype(np.float32),
        (((A * far - 5 * A) * far + 8 * A) * far - 4 * A).astype(np.float32),
    )


def _mixed_bilinear(taps: Sequence[Any], weights: Any) -> Any:
    return taps[0] + (taps[1] - taps[0]) * weights[0]


def _mixed_bicubic(taps: Sequence[Any], weights: Any) -> Any:
    return taps[0] * weights[0] + taps[1] * weights[1] + taps[2] * weights[2] + taps[3] * weights[3]


METHODS: Final = {
    "tf-bilinear": Method(_taps_bilinear, _mixed_bilinear),
    "tf-nearest": Method(_taps_nearest, lambda taps, _: taps[0]),
    "tf-bicubic": Method(_taps_bicubic, _mixed_bicubic, columns_first=False),
}
