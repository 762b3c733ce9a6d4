# SPDX-License-Identifier: Apache-2.0
"""Image files as users send them, and the Keras model's probabilities for each: what an HTTP endpoint is checked with.

Golden images reach other targets as pixels of the right size. An endpoint also decodes, rotates, converts and resizes, so it is
sent whole files: some golden ones, and others made of golden images that the Keras model is unsure of. Of several candidates of
a kind those are kept for which reading the file wrongly changes the probabilities most.
"""

import io
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.preprocessing import ORIENTATION, Preprocessing, opened, pixels_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

# The folder below build/<model>/reference/, and the probabilities next to it, one row per file in the order of names.
UPLOADS: Final = "uploads"
UPLOADED: Final = "uploads.npy"
# The word in a file's name by what it is.
KINDS: Final = {
    "golden": "a golden image file as it is",
    "wide": "a PNG of another size and aspect",
    "photo": "a JPEG of another size and aspect",
    "rotated": "a JPEG with EXIF rotation",
    "gray": "a gray PNG",
    "alpha": "a PNG with an alpha channel",
    "palette": "a palette PNG",
    "gif": "a GIF",
}
# How many golden files are kept as they are, and how large each may be.
GOLDEN_FILES: Final = 3
LARGEST_FILE: Final = 2**18
CANDIDATES: Final = 8
KEPT: Final = 2
# The longest side of what is made, and its size relative to the classifier's input.
LONGEST_SIDE: Final = 256
WIDER: Final = (9 / 4, 3)
# The value of the EXIF tag for a picture that has to be turned by 90 degrees clockwise.
TURNED: Final = 6
# How much the grain of what is made changes a pixel at most, of 255.
GRAIN: Final = 48


@dataclass(frozen=True)
class Upload:
    """A file, its pixels as the config's preprocessing reads them, and as a reader with a usual mistake does."""

    kind: str
    suffix: str
    data: bytes
    pixels: "NDArray[np.uint8]"
    misread: "NDArray[np.uint8]"


def kind_of(file: Path) -> str:
    """Return what a file is, in words, by its name."""
    return KINDS[file.stem.rpartition("-")[2]]


def files_in(reference: Path | None) -> tuple[Path, ...]:
    """Return the files to upload that a reference's folder holds, in the order of their probabilities."""
    return () if reference is None else tuple(sorted((reference / UPLOADS).glob("*-*.*")))


def bases_of(pixels: "NDArray[np.uint8]", margins: "NDArray[np.float32]", order: "NDArray[np.int64]") -> "NDArray[np.uint8]":
    """Return the pixels to make files of: the golden images that the Keras model is least sure of, and blends of two classes."""
    import numpy as np

    unsure = margins.argsort(kind="stable")[: CANDIDATES // 2]
    one, other = (pixels[order[at : CANDIDATES - 1 + at : 2]].astype(np.uint16) for at in (0, 1))
    blends = ((one[: len(other)] + other) // 2).astype(np.uint8)
    return np.concatenate([pixels[unsure], blends])


def write_uploads(
    place: Path,
    golden: Sequence[Path],
    bases: "NDArray[np.uint8]",
    how: Preprocessing,
    probabilities: "Callable[[NDArray[np.uint8]], NDArray[np.float32]]",
) -> None:
    """Write the files and their probabilities into a reference's folder.

    ``golden`` are golden image files, the most useful first, and ``bases`` the pixels that others are made of. ``probabilities``
    turns pixels, [count, height, width, channels], into the Keras model's probabilities.
    """
    import numpy as np

    made = [make(base, how, number) for number, base in enumerate(bases) for make in MAKERS]
    read = probabilities(np.stack([upload.pixels for upload in made]))
    misread = probabilities(np.stack([upload.misread for upload in made]))
    apart = np.abs(read - misread).max(axis=1)
    kept: list[tuple[str, bytes, NDArray[np.uint8]]] = []
    for kind in dict.fromkeys(upload.kind for upload in made):
        numbers = sorted((at for at, upload in enumerate(made) if upload.kind == kind), key=lambda at: -apart[at])
        kept += [(f"{kind}{made[at].suffix}", made[at].data, made[at].pixels) for at in numbers[:KEPT]]
    for file in islice((file for file in golden if file.stat().st_size <= LARGEST_FILE), GOLDEN_FILES):
        kept.append((f"golden{file.suffix.lower()}", file.read_bytes(), pixels_of(opened(file, str(file)), how)))
    shutil.rmtree(place / UPLOADS, ignore_errors=True)
    (place / UPLOADS).mkdir()
    for number, (name, data, _) in enumerate(kept):
        (place / UPLOADS / f"{number:02}-{name}").write_bytes(data)
    np.save(place / UPLOADED, probabilities(np.stack([pixels for _, _, pixels in kept])))


def _wide(base: "NDArray[np.uint8]", how: Preprocessing, number: int) -> Upload:
    picture = _picture(base, how, number)
    return _upload("wide", picture, how, picture, resize=_other_filter(how))


def _photo(base: "NDArray[np.uint8]", how: Preprocessing, number: int) -> Upload:
    picture = _picture(base, how, number)
    return _upload("photo", picture, how, None, {"format": "JPEG", "quality": 95, "subsampling": 0}, resize=_other_filter(how))


def _rotated(base: "NDArray[np.uint8]", how: Preprocessing, number: int) -> Upload:
    from PIL import Image

    picture = _picture(base, how, number).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[ORIENTATION] = TURNED
    return _upload("rotated", picture, how, picture, {"format": "JPEG", "quality": 95, "subsampling": 0, "exif": exif})


def _gray(base: "NDArray[np.uint8]", how: Preprocessing, number: int) -> Upload:
    picture = _picture(base, how, number).convert("L")
    return _upload("gray", picture, how, picture, resize=_other_filter(how))


def _alpha(base: "NDArray[np.uint8]", how: Preprocessing, number: int) -> Upload:
    """Make a picture whose transparent half keeps its colours, which the config's preprocessing shows; a viewer shows white."""
    from PIL import Image

    picture = _picture(base, how, number).convert("RGB")
    mask = Image.linear_gradient("L").resize(picture.size)
    white = Image.composite(picture, Image.new("RGB", picture.size, "white"), mask)
    picture.putalpha(mask)
    return _upload("alpha", picture, how, white)


def _palette(base: "NDArray[np.uint8]", how: Preprocessing, number: int) -> Upload:
    picture = _indexed(base, how, number)
    return _upload("palette", picture, how, _numbers(picture))


def _gif(base: "NDArray[np.uint8]", how: Preprocessing, number: int) -> Upload:
    picture = _indexed(base, how, number)
    return _upload("gif", picture, how, _numbers(picture), {"format": "GIF"})


MAKERS: Final = (_wide, _photo, _rotated, _gray, _alpha, _palette, _gif)


def _indexed(base: "NDArray[np.uint8]", how: Preprocessing, number: int) -> "Image.Image":
    from PIL import Image

    return _picture(base, how, number).convert("RGB").quantize(64, method=Image.Quantize.MEDIANCUT)


def _numbers(picture: "Image.Image") -> "Image.Image":
    """Return a palette picture as a reader shows it that takes the palette's numbers for grays."""
    import numpy as np
    from PIL import Image

    return Image.fromarray(np.asarray(picture))


def _other_filter(how: Preprocessing) -> str:
    return "bilinear" if how.resize == "nearest" else "nearest"


def _upload(
    kind: str,
    picture: "Image.Image",
    how: Preprocessing,
    misread: "Image.Image | None",
    saved: dict[str, Any] | None = None,
    **mistaken: str,
) -> Upload:
    file = io.BytesIO()
    options = {"format": "PNG", **(saved or {})}
    picture.save(file, **options)
    decoded = opened(file, kind)
    wrong = pixels_of(misread or decoded, replace(how, **mistaken))  # type: ignore[arg-type]
    suffix = {"PNG": ".png", "JPEG": ".jpg", "GIF": ".gif"}[options["format"]]
    return Upload(kind, suffix, file.getvalue(), pixels_of(decoded, how), wrong)


def _picture(base: "NDArray[np.uint8]", how: Preprocessing, number: int) -> "Image.Image":
    """Return pixels as a picture of another size and aspect, with grain, which only a resize that drops pixels keeps."""
    import numpy as np
    from PIL import Image

    shown = base[..., 0] if how.colour == "gray" else base[..., ::-1] if how.colour == "bgr" else base
    size = _size(how)
    large = np.asarray(Image.fromarray(np.ascontiguousarray(shown)).resize(size, Image.Resampling.BICUBIC), dtype=np.int16)
    grain = np.random.default_rng(number).integers(-GRAIN, GRAIN + 1, size=large.shape)
    return Image.fromarray(np.clip(large + grain, 0, 255).astype(np.uint8))


def _size(how: Preprocessing) -> tuple[int, int]:
    """Return width and height of what is made: never the classifier's own, and of another aspect."""
    width, height = how.width * WIDER[0], how.height * WIDER[1]
    shrunk = min(1.0, LONGEST_SIDE / max(width, height))
    return max(8, round(width * shrunk)), max(8, round(height * shrunk))
