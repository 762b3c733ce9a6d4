# SPDX-License-Identifier: Apache-2.0
"""Labelled images, and the exact tensors the contract says they become."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from models.errors import EdgeError
from models.files import digest, digest_of_files, files_below, sha256_of
from models.spec import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL import Image

SUFFIXES: Final = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
LABELS_FILE: Final = "labels.csv"


@dataclass(frozen=True)
class ImageSet:
    """Images in a folder or an .npz file, and the label of each where they have one.

    ``files`` is empty for an .npz file; ``labels`` is None where no label is told.
    """

    path: Path
    files: tuple[Path, ...]
    labels: tuple[str, ...] | None
    digest: str


def find_images(path: Path) -> ImageSet:
    """Return the images at ``path``, none of them decoded.

    A folder holds one folder a label, or images and a ``labels.csv`` (file,label), or images alone; an .npz file holds
    ``images`` (uint8, [count, height, width, channels]) and may hold ``labels`` (texts or class numbers).

    Raises:
        EdgeError: there is nothing at that place, or no image in it, or a line of labels.csv is wrong.
    """
    if path.is_file() and path.suffix == ".npz":
        return ImageSet(path, (), None, sha256_of(path))
    if not path.is_dir():
        found = "is not a folder and not an .npz file" if path.exists() else "is not there"
        raise EdgeError(f"{path} {found}; expected images: a folder, or an .npz file.")
    below = files_below(path)
    files = tuple(file for file in below if file.suffix.lower() in SUFFIXES)
    if not files:
        raise EdgeError(f"{path} holds no image; looked for {', '.join(SUFFIXES)} at any depth.")
    listed = [file for file in below if file == path / LABELS_FILE]
    labels = _labels_listed(listed[0], files) if listed else _labels_by_folder(path, files)
    return ImageSet(path, files, labels, digest([digest_of_files([*files, *listed], path), labels]))


def _labels_by_folder(path: Path, files: Sequence[Path]) -> tuple[str, ...] | None:
    if any(file.parent == path for file in files):
        return None
    return tuple(file.relative_to(path).parts[0] for file in files)


def _labels_listed(table: Path, files: Sequence[Path]) -> tuple[str, ...]:
    with table.open(newline="", encoding="utf-8") as text:
        rows = list(csv.reader(text))
    label_of = {}
    for number, row in enumerate(rows, 1):
        if len(row) != 2:
            raise EdgeError(f"{table}, line {number}: has {len(row)} fields; expected 'file,label'.")
        label_of[row[0].strip()] = row[1].strip()
    missing = [file for file in files if file.relative_to(table.parent).as_posix() not in label_of]
    if missing:
        raise EdgeError(f"{table} has no line for {missing[0].relative_to(table.parent)} ({len(missing)} images lack one).")
    return tuple(label_of[file.relative_to(table.parent).as_posix()] for file in files)


def read_pixels(images: ImageSet, how: Preprocessing) -> "NDArray[np.uint8]":
    """Return all images decoded, resized and ordered as the contract says, before normalisation.

    Returns:
        uint8, [count, height, width, channels], channels in the contract's colour order.

    Raises:
        EdgeError: an image cannot be read, or an .npz file does not hold what it should.
    """
    import numpy as np

    if not images.files:
        pictures = [picture for picture in _arrays(images.path)[0]]
        return np.stack([pixels_of(_from_array(picture, images.path), how) for picture in pictures])
    return np.stack([pixels_of(_opened(file), how) for file in images.files])


def read_labels(images: ImageSet, labels: Sequence[str]) -> "NDArray[np.int64]":
    """Return the class number of every image, [count].

    Raises:
        EdgeError: the images have no labels, or one that the contract does not name.
    """
    import numpy as np

    if not images.files:
        given = _arrays(images.path)[1]
        names = (
            None
            if given is None
            else [labels[int(v)] if np.issubdtype(given.dtype, np.integer) and int(v) < len(labels) else str(v) for v in given]
        )
    else:
        names = None if images.labels is None else list(images.labels)
    if names is None:
        raise EdgeError(
            f"{images.path} has no labels; put the images in one folder a label, or add {LABELS_FILE} with 'file,label' lines."
        )
    unknown = sorted(set(names) - set(labels))
    if unknown:
        raise EdgeError(
            f"{images.path} has the label {unknown[0]!r}, which the contract does not name; it names {', '.join(labels[:12])}."
        )
    return np.array([labels.index(name) for name in names], dtype=np.int64)


def normalise(pixels: "NDArray[np.uint8]", how: Preprocessing) -> "NDArray[np.float32]":
    """Return ``(pixel - mean) / std`` in float32, the classifier's own input, same shape."""
    import numpy as np

    mean = np.asarray(how.mean, dtype=np.float32)
    std = np.asarray(how.std, dtype=np.float32)
    normalised: NDArray[np.float32] = (pixels.astype(np.float32) - mean) / std
    return normalised


def pixels_of(picture: "Image.Image", how: Preprocessing) -> "NDArray[np.uint8]":
    """Return one picture as the contract's pixels: uint8, [height, width, channels].

    Turned upright by its EXIF note, converted to the colour space, then fitted: ``stretch`` to the shape, ``crop`` the
    largest centred part of the right aspect, or ``pad`` with black; resized by Pillow's filter of that name.
    """
    import numpy as np
    from PIL import Image, ImageOps

    upright = ImageOps.exif_transpose(picture).convert("L" if how.colour == "gray" else "RGB")
    size, filter_ = (how.width, how.height), Image.Resampling[how.resize.upper()]
    if how.fit == "crop":
        fitted = ImageOps.fit(upright, size, filter_)
    elif how.fit == "pad":
        fitted = ImageOps.pad(upright, size, filter_, color=0)
    else:
        fitted = upright if upright.size == size else upright.resize(size, filter_)
    pixels = np.asarray(fitted, dtype=np.uint8).reshape(how.height, how.width, how.channels)
    return np.ascontiguousarray(pixels[..., ::-1]) if how.colour == "bgr" else pixels


def _opened(file: Path) -> "Image.Image":
    from PIL import Image

    try:
        with Image.open(file) as picture:
            if picture.mode.startswith(("I", "F")):
                raise EdgeError(f"{file}: has more than 8 bits a channel (mode {picture.mode}); save it with 8.")
            picture.load()
            return picture
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise EdgeError(f"{file}: not an image that can be read: {error}.") from None


def _from_array(array: "NDArray[np.uint8]", path: Path) -> "Image.Image":
    from PIL import Image

    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.ndim not in {2, 3}:
        raise EdgeError(f"{path}: images have the shape {array.shape}; expected [height, width] or [height, width, 1 or 3].")
    return Image.fromarray(array)


def _arrays(path: Path) -> "tuple[NDArray[np.uint8], NDArray[np.generic] | None]":
    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = dict(held)
    except (OSError, ValueError) as error:
        raise EdgeError(f"{path}: not an .npz file that can be read: {error}.") from None
    images = arrays.get("images")
    if images is None or images.dtype != np.uint8 or images.ndim not in {3, 4} or not len(images):
        raise EdgeError(f"{path}: expected an array 'images' of uint8, [count, height, width, channels]; found {sorted(arrays)}.")
    labels = arrays.get("labels")
    if labels is not None and labels.shape != (len(images),):
        raise EdgeError(f"{path}: has {len(images)} images, but 'labels' has the shape {labels.shape}.")
    return images, labels
