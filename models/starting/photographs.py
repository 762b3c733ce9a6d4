# SPDX-License-Identifier: Apache-2.0
"""What a folder of photographs holds: the folders of its labels, and the parts of a data set where it has such."""

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgeferry.models.audit.finding import some_of
from edgeferry.models.image_lists import LIST, can_be_listed
from edgeferry.models.images import LABELS_FILE, SUFFIXES, ImageSet, find_images, unread_files
from edgeferry.models.system.errors import EdgeError

# How people name the parts of a data set, those kept from training first.
HELD_OUT: Final = ("test", "testing", "val", "valid", "validation", "eval")
TRAINED_ON: Final = ("train", "training")
# Unpacked archives put folders into folders.
MOST_LEVELS: Final = 4


@dataclass(frozen=True)
class Photographs:
    """Images by file and label; ``labels`` is None where they have none, ``folder`` is where the labels' folders are.

    ``calibration`` holds those of another part, such as train/, where the data set is in parts; it is None where it is not.
    ``left_out`` says which files are not taken, and why.
    """

    folder: Path
    files: tuple[Path, ...]
    labels: tuple[str, ...] | None
    calibration: "Photographs | None" = None
    left_out: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return the labels of all parts in code-point order, in which image_dataset_from_directory numbers classes."""
        other = self.calibration.names if self.calibration else ()
        return tuple(sorted({*(self.labels or ()), *other}))


def find_photographs(folder: Path) -> Photographs:
    """Return the photographs of a folder, none of them decoded.

    Raises:
        EdgeError: there is no such folder, it holds no image, some images are in no folder of a label, or all have one label.
    """
    if not folder.is_dir():
        found = "is no folder" if folder.exists() else "does not exist"
        raise EdgeError("EF-photographs-missing", f"{folder} {found}; expected a folder of photographs, one folder per label.")
    place = _descended(folder)
    parts = _parts(place)
    photographs = _photographs(place) if parts is None else replace(_photographs(parts[0]), calibration=_photographs(parts[1]))
    if photographs.labels is not None and len(photographs.names) < 2:
        raise EdgeError(
            "EF-photographs-one-label",
            f"{photographs.folder}: all {len(photographs.files)} photographs have one label, {photographs.names[0]!r}; expected "
            "one folder per label, at least two of them.",
        )
    return photographs


def _descended(folder: Path) -> Path:
    """Return the folder below, as long as there is nothing but one folder of folders."""
    for _ in range(MOST_LEVELS):
        below = [each for each in _visible(folder) if each.is_dir()]
        images = any(each.suffix.lower() in (*SUFFIXES, LIST) for each in _visible(folder) if each.is_file())
        if images or len(below) != 1 or not any(each.is_dir() for each in _visible(below[0])):
            return folder
        folder = below[0]
    return folder


def _visible(folder: Path) -> list[Path]:
    try:
        # macOS puts a folder of its own into every zip file.
        return sorted(each for each in folder.iterdir() if not each.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise EdgeError("EF-photographs-missing", f"{folder}: cannot be read: {error.strerror}.") from None


def _parts(folder: Path) -> tuple[Path, Path] | None:
    """Return the folder to check on and the one to calibrate on, where all folders there are named as parts of a data set."""
    below = {each.name.lower(): each for each in _visible(folder) if each.is_dir()}
    held_out = [below[name] for name in HELD_OUT if name in below]
    trained_on = [below[name] for name in TRAINED_ON if name in below]
    if set(below) - {*HELD_OUT, *TRAINED_ON} or not held_out or len(held_out) + len(trained_on) < 2:
        return None
    return held_out[0], (trained_on or held_out[1:])[0]


def _photographs(folder: Path) -> Photographs:
    images = _found(folder)
    beside = [file.name for file in images.files if file.parent == folder]
    if images.labels is None and len(beside) < len(images.files):
        raise EdgeError(
            "EF-photographs-stray",
            f"{folder}: {len(beside)} of {len(images.files)} photographs, such as {beside[0]}, are in no folder of a label; "
            f"move them into one, or add {LABELS_FILE} with 'file,label' lines.",
        )
    listed = [number for number, file in enumerate(images.files) if can_be_listed(file)]
    others = [os.fsencode(file.name).decode(errors="replace") for file in images.files if not can_be_listed(file)]
    named = [f"{len(others)} files whose names cannot stand in a list ({some_of(others, 3)})"] if others else []
    unread = [f"{count} {suffix} files: {advice}" for suffix, (count, advice) in unread_files(folder).items()]
    labels = None if images.labels is None else tuple(images.labels[number] for number in listed)
    return Photographs(folder, tuple(images.files[number] for number in listed), labels, left_out=(*named, *unread))


def _found(folder: Path) -> ImageSet:
    try:
        # Only the names matter yet: a digest of every file would read a hundred thousand of them.
        return find_images(folder, lambda _: "")
    except EdgeError as error:
        code = "EF-photographs-missing" if error.code == "EF-images-missing" else error.code
        raise EdgeError(code, str(error)) from None
