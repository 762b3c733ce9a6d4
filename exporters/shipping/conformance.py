# SPDX-License-Identifier: Apache-2.0
"""What code in an app made of odd pictures, compared with what it has to make, and the mistake that explains a difference."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.exporters.shipping.pictures import Picture, read_pictures
from edgeferry.models.preprocessing import Preprocessing, opened, pixels_of
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

FITS: Final = ("stretch", "crop", "pad")
KERNELS: Final = ("nearest", "box", "bilinear", "bicubic", "lanczos", "tf-nearest", "tf-bilinear", "tf-bicubic")


@dataclass(frozen=True)
class Mismatch:
    """A picture that became other pixels: how far they are off at most, in levels of 255, and the mistake that explains it."""

    picture: Picture
    levels: float
    mistake: str


def mistake_of(file: Path, found: "NDArray[np.float32]", how: Preprocessing) -> tuple[float, str]:
    """Return how far values in levels of 255 are off at most for a picture, and in words the mistake that explains them best.

    ``found`` is float32, [height, width, channels]; a mistake explains what it brings within a quarter of what is off.
    """
    import numpy as np

    right = pixels_of(opened(file, str(file)), how).astype(np.float32)
    off = np.abs(found - right)
    if not off.any():
        return 0.0, ""
    distances = {words: float(np.abs(found - wrong).mean()) for words, wrong in _mistakes(file, right, how)}
    words = min(distances, key=distances.__getitem__, default="")
    is_explained = words and distances[words] <= float(off.mean()) / 4
    return float(off.max()), words if is_explained else "no usual mistake explains it"


def _mistakes(file: Path, right: "NDArray[np.float32]", how: Preprocessing) -> "Iterator[tuple[str, NDArray[np.float32]]]":
    """Yield what a picture becomes by each usual mistake; of the same pixels by two of them the first is named."""
    import numpy as np
    from PIL import Image

    yield from _of_range(right, how)
    picture = opened(file, str(file))
    if right.shape[-1] == 3:
        yield "order: red and blue are exchanged", right[..., ::-1]
    raw = Image.fromarray(np.asarray(picture.convert("RGBA" if "A" in picture.mode else "RGB")))
    yield "rotation: the EXIF orientation is ignored", _as_read(raw, how)
    for degrees in (90, 180, 270):
        yield (
            f"rotation: turned by {degrees} degrees",
            np.rot90(right, degrees // 90) if _fits(right, degrees) else right + np.inf,
        )
    yield "rotation: mirrored", right[:, ::-1]
    for fit in FITS:
        if fit != how.fit:
            yield f"crop: the fit is '{fit}', not '{how.fit}'", _as_read(picture, replace(how, fit=fit))
    for kernel in KERNELS:
        if kernel != how.resize:
            yield f"kernel: resized by '{kernel}', not '{how.resize}'", _as_read(picture, replace(how, resize=kernel))
    yield "half-pixel: the corners of both images are aligned", _without_half_pixels(picture, how, aligned=True)
    yield "half-pixel: centres of pixels are ignored", _without_half_pixels(picture, how, aligned=False)
    if "A" in picture.mode:
        for words, ground in (("white", 255), ("black", 0)):
            canvas = Image.new("RGBA", picture.size, (ground, ground, ground, 255))
            canvas.alpha_composite(picture.convert("RGBA"))
            yield f"opacity: drawn on {words}, not ignored", _as_read(canvas.convert("RGB"), how)
    if picture.info.get("icc_profile"):
        yield "colours: the ICC profile is applied", right[..., ::-1]


def _of_range(right: "NDArray[np.float32]", how: Preprocessing) -> "Iterator[tuple[str, NDArray[np.float32]]]":
    """Yield pixels as they would be taken for if they were given in a usual range instead of the config's."""
    import numpy as np

    std, mean = (np.asarray(each, dtype=np.float32) for each in (how.std, how.mean))
    for words, value in (("0 to 255", right), ("0 to 1", right / 255), ("-1 to 1", right / 127.5 - 1)):
        wrong = (value * std + mean).astype(np.float32)
        if not np.allclose(wrong, right, atol=1e-2):
            yield f"range: the values are {words}, not what the config says", wrong
    # Bytes of one sign taken for those of the other.
    yield "range: int8 and uint8 are exchanged", (right + 128) % 256


def _as_read(picture: "Image.Image", how: Preprocessing) -> "NDArray[np.float32]":
    import numpy as np

    return pixels_of(picture, how).astype(np.float32)


def _fits(right: "NDArray[np.float32]", degrees: int) -> bool:
    return degrees == 180 or right.shape[0] == right.shape[1]


def _without_half_pixels(picture: "Image.Image", how: Preprocessing, *, aligned: bool) -> "NDArray[np.float32]":
    """Return a picture stretched bilinearly with corners aligned, or with pixels at their left upper corners."""
    import numpy as np

    values = _as_read(picture, replace(how, height=picture.height, width=picture.width, fit="stretch"))
    if "exif" in picture.info:
        return values[:1, :1] + np.full((how.height, how.width, how.channels), np.inf, np.float32)
    for axis, new in ((0, how.height), (1, how.width)):
        old = values.shape[axis]
        scale = (old - 1) / (new - 1) if aligned and new > 1 else old / new
        places = np.minimum(np.arange(new) * scale, old - 1)
        low = np.floor(places).astype(int)
        shape = [1, 1, 1]
        shape[axis] = new
        part = (places - low).reshape(shape).astype(np.float32)
        values = values.take(low, axis) * (1 - part) + values.take(np.minimum(low + 1, old - 1), axis) * part
    return values


def conformance(kit: Path, found: Path, how: Preprocessing) -> tuple[list[Mismatch], list[Picture]]:
    """Return the pictures that an app made other pixels of, and those that it says nothing about.

    ``found`` holds what it made: ``<name>.u8``, uint8 pixels, or ``<name>.f32``, the input as little-endian float32.

    Raises:
        EdgeError: a file has another size.
    """
    wrong, absent = [], []
    for picture in read_pictures(kit):
        stem = Path(picture.file).stem
        values = _values(found / stem, how)
        if values is None:
            absent.extend([] if picture.refused else [picture])
        elif picture.refused:
            wrong.append(Mismatch(picture, 255.0, "expected that it is refused"))
        else:
            levels, mistake = mistake_of(kit / picture.file, values, how)
            # In single precision a value is not exact.
            if levels > picture.levels + 1e-3:
                wrong.append(Mismatch(picture, levels, mistake))
    return wrong, absent


def _values(stem: Path, how: Preprocessing) -> "NDArray[np.float32] | None":
    """Return what an app made of a picture, in levels of 255, or None where it wrote nothing."""
    import numpy as np

    shape = (how.height, how.width, how.channels)
    for suffix, dtype in ((".u8", np.dtype(np.uint8)), (".f32", np.dtype("<f4"))):
        path = stem.with_name(stem.name + suffix)
        if path.is_file():
            if path.stat().st_size != dtype.itemsize * int(np.prod(shape)):
                raise EdgeError(
                    "EF-conform-size",
                    f"{path}: has {path.stat().st_size} bytes; expected {list(shape)} of {dtype}.",
                )
            values = np.fromfile(path, dtype).reshape(shape)
            if suffix == ".u8":
                return values.astype(np.float32)
            std, mean = (np.asarray(each, dtype=np.float32) for each in (how.std, how.mean))
            levels: NDArray[np.float32] = values.astype(np.float32) * std + mean
            return levels
    return None
