# SPDX-License-Identifier: Apache-2.0
"""Odd pictures, and the exact pixels that each becomes: what code in an app is compared with.

Every picture is drawn so that a usual mistake changes it: no symmetry, three different colours, edges at every place.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.preprocessing import Preprocessing, opened, pixels_of
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import read_record, write_json

if TYPE_CHECKING:
    from PIL import Image

# History: 1, the first.
SCHEMA: Final = 1
INDEX: Final = "index.json"
# The EXIF tag Orientation.
ORIENTATION: Final = 0x0112
# Decoders of JPEG round differently by some levels of 255.
JPEG_LEVELS: Final = 4


@dataclass(frozen=True)
class Picture:
    """An odd picture: the name of its file, what is odd, how far a decoder may be off in levels, and whether it is refused."""

    file: str
    what: str
    levels: int = 0
    refused: bool = False


def _drawn(width: int, height: int) -> "Image.Image":
    """Return a picture whose three channels differ everywhere and that no turn, mirror or exchange of channels leaves alone."""
    import numpy as np
    from PIL import Image

    y, x = np.mgrid[0:height, 0:width]
    across, down = x / max(width - 1, 1), y / max(height - 1, 1)
    stripes = 40 * ((x // 3 + y // 5) % 2)
    channels = (230 * across * (1 - down / 3), 30 + 180 * down, 200 * (1 - across) * down + 20)
    return Image.fromarray(np.stack([np.clip(each + stripes, 0, 255) for each in channels], axis=-1).astype(np.uint8))


def _saved(picture: "Image.Image", form: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def _turned(orientation: int, form: str) -> bytes:
    from PIL import Image

    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options = {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    return _saved(_drawn(61, 37), form, exif=exif, **options)


def _translucent() -> "Image.Image":
    from PIL import Image

    picture = _drawn(45, 50)
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def _gray_with_opacity() -> "Image.Image":
    from PIL import Image

    picture = _drawn(33, 40).convert("L")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    return picture


def _sixteen_bits() -> "Image.Image":
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.asarray(_drawn(30, 30).convert("L"), dtype=np.uint16) * 257)


def _other_profile() -> bytes:
    """Return a profile whose red and blue primaries are exchanged: who applies it exchanges the colours."""
    from PIL import ImageCms

    data = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return data.replace(b"rXYZ", b"tXYZ", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tXYZ", b"bXYZ", 1)


JPEG: Final = {"quality": 95, "subsampling": 0}
MAKERS: Final[tuple[tuple[str, str, Callable[[], bytes]], ...]] = (
    ("odd-size.png", "odd width and height", lambda: _saved(_drawn(61, 37), "PNG")),
    ("small.png", "smaller than the input", lambda: _saved(_drawn(5, 7), "PNG")),
    ("wide.png", "a panorama", lambda: _saved(_drawn(301, 17), "PNG")),
    ("one-wide.png", "one pixel wide", lambda: _saved(_drawn(1, 40), "PNG")),
    ("one-pixel.png", "one pixel", lambda: _saved(_drawn(1, 1), "PNG")),
    ("gray.png", "gray", lambda: _saved(_drawn(50, 43).convert("L"), "PNG")),
    ("gray-alpha.png", "gray with opacity", lambda: _saved(_gray_with_opacity(), "PNG")),
    ("alpha.png", "RGB with opacity: transparent pixels keep their colours", lambda: _saved(_translucent(), "PNG")),
    ("palette.png", "a palette of 16 colours", lambda: _saved(_drawn(40, 40).quantize(16), "PNG")),
    ("two-levels.png", "one bit per pixel", lambda: _saved(_drawn(40, 40).convert("1"), "PNG")),
    (
        "icc.png",
        "an ICC profile that exchanges colours",
        lambda: _saved(_drawn(40, 40), "PNG", icc_profile=_other_profile()),
    ),
    ("exif-6.png", "EXIF: a quarter turn clockwise, in a PNG", lambda: _turned(6, "PNG")),
    ("exif-2.jpg", "EXIF: mirrored", lambda: _turned(2, "JPEG")),
    ("exif-3.jpg", "EXIF: upside down", lambda: _turned(3, "JPEG")),
    ("exif-5.jpg", "EXIF: mirrored, then a quarter turn", lambda: _turned(5, "JPEG")),
    ("exif-6.jpg", "EXIF: a quarter turn clockwise", lambda: _turned(6, "JPEG")),
    ("exif-8.jpg", "EXIF: a quarter turn counterclockwise", lambda: _turned(8, "JPEG")),
    ("progressive.jpg", "a progressive JPEG", lambda: _saved(_drawn(64, 48), "JPEG", progressive=True, **JPEG)),
    ("cmyk.jpg", "CMYK", lambda: _saved(_drawn(40, 40).convert("CMYK"), "JPEG", quality=95)),
    ("sixteen-bits.png", "16 bits per pixel: refused", lambda: _saved(_sixteen_bits(), "PNG")),
)


def write_pictures(how: Preprocessing, folder: Path) -> None:
    """Write the pictures and their pixels ([height, width, channels], uint8, as ``<name>.u8``) into a folder, with an index."""
    folder.mkdir(parents=True)
    found = []
    for number, (name, what, made) in enumerate(MAKERS):
        file, data = f"{number:02}-{name}", made()
        (folder / file).write_bytes(data)
        try:
            pixels = pixels_of(opened(io.BytesIO(data), file), how)
        except EdgeError:
            found.append({"file": file, "what": what, "levels": 0, "refused": True})
            continue
        pixels.tofile(folder / f"{Path(file).stem}.u8")
        found.append({"file": file, "what": what, "levels": JPEG_LEVELS if file.endswith(".jpg") else 0, "refused": False})
    write_json(folder / INDEX, {"schema": SCHEMA, "shape": [how.height, how.width, how.channels], "pictures": found})


def read_pictures(folder: Path) -> tuple[Picture, ...]:
    """Return the pictures of a kit's folder."""
    fields: list[dict[str, Any]] = read_record(
        folder / INDEX, SCHEMA, lambda each: each["pictures"], "an index", "edgeferry ship"
    )
    return tuple(Picture(**each) for each in fields)
