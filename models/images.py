# SPDX-License-Identifier: Apache-2.0
"""Labelled images, and the exact tensors that the config turns them into."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.models.image_lists import LIST, read_list, rows_of
from edgeferry.models.npz import arrays_of
from edgeferry.models.preprocessing import FORMATS, ORIENTATION, Preprocessing, opened, pixels_of
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, digest, digest_of_files, files_below, sha256_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
# Pictures that are not read, and how they are converted.
_MAGICK: Final = "convert them first, as with ImageMagick's `magick mogrify -format png`"
UNREAD: Final = {
    ".heic": "convert them first, as with `sips -s format jpeg` on a Mac or `heif-convert` of libheif elsewhere",
    ".heif": "convert them first, as with `sips -s format jpeg` on a Mac or `heif-convert` of libheif elsewhere",
    ".avif": "convert them first, as with `avifdec` of libavif",
    ".jxl": "convert them first, as with `djxl` of libjxl",
    **dict.fromkeys((".jfif", ".jpe"), "they are JPEG files: rename them to .jpg"),
    **dict.fromkeys((".jp2", ".psd", ".svg", ".tga", ".ico", ".exr", ".hdr"), _MAGICK),
    **dict.fromkeys((".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf"), "export these raw photographs as JPEG first"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".webm", ".mkv"), "take single images from the videos first, as with `ffmpeg`"),
}
LABELS_FILE: Final = "labels.csv"


@dataclass(frozen=True)
class ImageSet:
    """Images in a folder, of a list (.csv) or in an .npz file, and the label of each where they have one.

    ``files`` is empty for an .npz file; ``labels`` is None where the images have none.
    """

    path: Path
    files: tuple[Path, ...]
    labels: tuple[str, ...] | None
    digest: str

    def name(self, number: int) -> str:
        """Return the file of an image, relative to the folder of all or of their list, or its number in an .npz file."""
        if not self.files:
            return f"image {number}"
        return Path(os.path.relpath(self.files[number], self.path.parent if self.path.suffix == LIST else self.path)).as_posix()


def find_images(path: Path, sha256: Sha256 = sha256_of) -> ImageSet:
    """Return the images at ``path``, none of them decoded.

    A folder holds one folder per label, or images and a ``labels.csv`` (file,label), or images alone; a list (.csv) names images
    that are anywhere (file,label or file alone); an .npz file holds ``images`` (uint8, [count, height, width, channels]) and may
    hold ``labels`` (texts or class numbers). ``sha256`` returns the digest of a file.

    Raises:
        EdgeError: there is nothing at that place, or no image in it, or a line of labels.csv is wrong.
    """
    if path.is_file() and path.suffix == ".npz":
        return ImageSet(path, (), None, sha256(path))
    if path.is_file() and path.suffix == LIST:
        return _listed(path, sha256)
    if not path.is_dir():
        found = "is neither a folder nor a .csv or .npz file" if path.exists() else "does not exist"
        raise EdgeError("EF-images-missing", f"{path} {found}; expected images: a folder, a list (.csv), or an .npz file.")
    below = files_below(path)
    files = tuple(file for file in below if file.suffix.lower() in SUFFIXES)
    if not files:
        others = "".join(f" It holds {count} {suffix} files: {advice}." for suffix, (count, advice) in unread_files(path).items())
        raise EdgeError("EF-images-missing", f"{path} holds no image; looked for {', '.join(SUFFIXES)} at any depth.{others}")
    listed = [file for file in below if file == path / LABELS_FILE]
    labels = _labels_listed(listed[0], files) if listed else _labels_by_folder(path, files)
    with _explained():
        return ImageSet(path, files, labels, digest([digest_of_files([*files, *listed], path, sha256), labels]))


def _listed(path: Path, sha256: Sha256) -> ImageSet:
    files, labels = read_list(path, SUFFIXES)
    with _explained():
        return ImageSet(path, files, labels, digest([[sha256(path), *map(sha256, files)], labels]))


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EdgeError("EF-image-unreadable", f"{error.filename}: cannot be read: {error.strerror}.") from None


def unread_files(path: Path) -> dict[str, tuple[int, str]]:
    """Return how many pictures in a folder are of a kind that is not read, by suffix, and how to convert them."""
    suffixes = [file.suffix.lower() for file in files_below(path)] if path.is_dir() else []
    return {suffix: (suffixes.count(suffix), UNREAD[suffix]) for suffix in sorted(set(suffixes) & set(UNREAD))}


def _labels_by_folder(path: Path, files: Sequence[Path]) -> tuple[str, ...] | None:
    if any(file.parent == path for file in files):
        return None
    below = len(str(path)) + 1
    return tuple(str(file)[below:].partition(os.sep)[0] for file in files)


def _labels_listed(table: Path, files: Sequence[Path]) -> tuple[str, ...]:
    names = [file.relative_to(table.parent).as_posix() for file in files]
    known, label_of = set(names), dict[str, str]()
    for number, row in rows_of(table):
        if len(row) != 2:
            raise EdgeError("EF-labels-csv", f"{table}, line {number}: has {len(row)} fields; expected 'file,label'.")
        name, label = row
        if name not in known:
            raise EdgeError("EF-labels-csv", f"{table}, line {number}: names {name!r}, which is not an image in {table.parent}.")
        if name in label_of:
            raise EdgeError("EF-labels-csv", f"{table}, line {number}: names {name!r} again; expected one line per image.")
        label_of[name] = label
    missing = [name for name in names if name not in label_of]
    if missing:
        raise EdgeError("EF-labels-csv", f"{table} has no line for {missing[0]} ({len(missing)} images lack one).")
    return tuple(label_of[name] for name in names)


def read_pixels(images: ImageSet, how: Preprocessing) -> "NDArray[np.uint8]":
    """Return all images decoded, resized and ordered as the config says, before normalisation.

    Returns:
        uint8, [count, height, width, channels], channels in the config's colour order.

    Raises:
        EdgeError: an image cannot be read, or an .npz file does not hold what it should.
    """
    import numpy as np

    if not images.files:
        return np.stack([pixels_of(_from_array(picture), how) for picture in _arrays(images.path)[0]])
    return np.stack([pixels_of(opened(file, str(file)), how) for file in images.files])


def opener(images: ImageSet) -> "tuple[int, Callable[[int], Image.Image]]":
    """Return how many images there are, and a function that returns one by its number, decoded, as it is in its file.

    The function raises an EdgeError where an image cannot be read. The images of an .npz file are all in memory.

    Raises:
        EdgeError: an .npz file does not hold what it should.
    """
    if images.files:
        return len(images.files), lambda number: opened(images.files[number], str(images.files[number]))
    arrays = _arrays(images.path)[0]
    return len(arrays), lambda number: _from_array(arrays[number])


def size_and_orientation(images: ImageSet, numbers: Iterable[int]) -> "Iterator[tuple[tuple[int, int], int]]":
    """Yield width and height of some images as they are stored, and their EXIF orientation, from 1 to 8; none is decoded."""
    from PIL import Image

    if not images.files:
        arrays = _arrays(images.path)[0]
        yield from (((arrays.shape[2], arrays.shape[1]), 1) for _ in numbers)
        return
    for number in numbers:
        with Image.open(images.files[number], formats=FORMATS) as picture:
            yield picture.size, int(picture.getexif().get(ORIENTATION, 1))


def npz_labels(path: Path) -> "NDArray[np.generic] | None":
    """Return the labels in an .npz file, [count], or None.

    Raises:
        EdgeError: it does not hold what it should.
    """
    return _arrays(path)[1]


def _from_array(array: "NDArray[np.uint8]") -> "Image.Image":
    from PIL import Image

    return Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _arrays(path: Path) -> "tuple[NDArray[np.uint8], NDArray[np.generic] | None]":
    import numpy as np

    arrays, declared = arrays_of(path, ("images", "labels"))
    images = arrays.get("images", np.empty(0))
    usable = (
        images.dtype == np.uint8 and images.size and (images.ndim == 3 or (images.ndim == 4 and images.shape[3] in {1, 3, 4}))
    )
    if not usable:
        found = ", ".join(f"{name!r} of {each}" for name, each in declared.items()) or "no named arrays"
        raise EdgeError(
            "EF-npz",
            f"{path}: expected 'images' of uint8, [count, height, width] or [count, height, width, 1 or 3]; found {found}.",
        )
    labels = arrays.get("labels")
    if labels is not None and labels.shape != (len(images),):
        raise EdgeError("EF-npz", f"{path}: has {len(images)} images, but 'labels' has the shape {labels.shape}.")
    return images, labels
