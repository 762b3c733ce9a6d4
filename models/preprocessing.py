# SPDX-License-Identifier: Apache-2.0
"""How an image becomes the input tensor of a classifier; the serving container carries a copy of this module."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.tf_resize import METHODS, fitted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

# Modes of Pillow with at most 8 bits per channel that it converts to gray and RGB.
MODES: Final = ("1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr")
# Pillow's names of what is read. Other formats start programs (EPS: Ghostscript), or unpack to gigabytes (JPEG 2000).
FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
# Of either side, as JPEG; Pillow allocates a pointer per row, and a row is decoded at once.
MOST_SIDE: Final = 65_535
# The EXIF tag of how an image is rotated.
ORIENTATION: Final = 0x0112
# Of an image: the largest cameras have 150 million.
MOST_PIXELS: Final = 160_000_000


@dataclass(frozen=True)
class Preprocessing:
    """How an image file becomes the input tensor of the classifier: ``(pixel - mean) / std`` in float32, pixels 0..255.

    ``mean`` and ``std`` hold one number per channel, in the config's colour order and in pixel units.
    """

    height: int
    width: int
    colour: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    resize: str = "bilinear"
    fit: str = "stretch"

    @property
    def channels(self) -> int:
        """Return 1 for gray, 3 for rgb and bgr."""
        return 1 if self.colour == "gray" else 3


def preprocessing_of(fields: Mapping[str, Any]) -> Preprocessing:
    """Return the preprocessing that JSON fields describe; raises KeyError or TypeError for any other fields."""
    return Preprocessing(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})


def opened(file: Path | IO[bytes], name: str, most_pixels: int = MOST_PIXELS) -> "Image.Image":
    """Return a decoded image file; error messages call it ``name``.

    Raises:
        EdgeError: it is not an image of FORMATS, is damaged, has more than 8 bits per channel, or is too large.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(file, formats=FORMATS) as picture:
            _refuse_larger_than(most_pixels, picture, name)
            picture.load()
    except EdgeError:
        raise
    except Exception as error:
        # Pillow's readers raise many kinds of error for a damaged file: OSError, SyntaxError, TypeError.
        why = f"expected {', '.join(FORMATS)}" if isinstance(error, UnidentifiedImageError) else str(error)
        raise EdgeError("EF-image-damaged", f"{name}: not an image that can be read: {why}.") from error
    if picture.mode not in MODES:
        raise EdgeError(
            "EF-image-mode",
            f"{name}: expected 8 bits per channel, gray or RGB; found mode {picture.mode} (Pillow's name). Convert the image.",
        )
    return picture


def normalise(pixels: "NDArray[np.uint8]", how: Preprocessing) -> "NDArray[np.float32]":
    """Return ``(pixel - mean) / std`` in float32, the classifier's own input, same shape."""
    import numpy as np

    mean = np.asarray(how.mean, dtype=np.float32)
    std = np.asarray(how.std, dtype=np.float32)
    normalised: NDArray[np.float32] = pixels.astype(np.float32)
    # In place: no more memory than the result's.
    normalised -= mean
    normalised /= std
    return normalised


def pixels_of(picture: "Image.Image", how: Preprocessing) -> "NDArray[np.uint8]":
    """Return one image as the config's pixels: uint8, [height, width, channels].

    Rotated as its EXIF orientation says, converted to the colour space, then fitted: ``stretch`` to the shape, ``crop`` the
    largest centred part of the right aspect, or ``pad`` with black; resized by a filter of Pillow or as TensorFlow does.
    """
    import numpy as np

    size, upright = (how.width, how.height), _upright(picture, "L" if how.colour == "gray" else "RGB")
    pixels = fitted(upright, size, how.resize, how.fit) if how.resize in METHODS else _fitted_by_pillow(upright, size, how)
    return np.ascontiguousarray(pixels[..., ::-1]) if how.colour == "bgr" else pixels


def _upright(picture: "Image.Image", mode: str) -> "Image.Image":
    """Return an image rotated and converted; the image itself where it is so already, since a copy of a large one is large."""
    from PIL import ImageOps

    turned = ImageOps.exif_transpose(picture) if picture.getexif().get(ORIENTATION, 1) != 1 else picture
    return turned if turned.mode == mode else turned.convert(mode)


def _fitted_by_pillow(picture: "Image.Image", size: tuple[int, int], how: Preprocessing) -> "NDArray[np.uint8]":
    import numpy as np
    from PIL import Image, ImageOps

    filter_ = Image.Resampling[how.resize.upper()]
    if how.fit == "crop":
        resized = ImageOps.fit(picture, size, filter_)
    elif how.fit == "pad":
        resized = ImageOps.pad(picture, size, filter_, color=0)
    else:
        resized = picture if picture.size == size else picture.resize(size, filter_)
    return np.asarray(resized, dtype=np.uint8).reshape(how.height, how.width, how.channels)


def _refuse_larger_than(most_pixels: int, picture: "Image.Image", name: str) -> None:
    """Refuse an image by the size in its header, before memory is allocated for it."""
    if picture.width * picture.height > most_pixels or max(picture.size) > MOST_SIDE:
        raise EdgeError(
            "EF-image-too-large",
            f"{name}: has {picture.width} x {picture.height} pixels; expected at most {most_pixels}, and {MOST_SIDE} on a side. "
            "Shrink it.",
        )
