# SPDX-License-Identifier: Apache-2.0
"""The true labels of images, from their folders, a table or an .npz file: one of each image, or several."""

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from edgeferry.models.image_lists import LIST
from edgeferry.models.images import LABELS_FILE, ImageSet, npz_labels
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Between the labels of one image, and what an image without any has in their place.
BETWEEN_LABELS: Final = "|"
NO_LABEL: Final = "-"


def read_labels(images: ImageSet, labels: Sequence[str]) -> "NDArray[np.int64]":
    """Return the class number of every image, [count].

    Raises:
        EdgeError: the images have no labels, or one that the config does not name.
    """
    classes = read_labels_if_any(images, labels)
    if classes is None:
        raise EdgeError(
            "EF-golden-labels",
            f"{images.path} has no labels; put the images in one folder per label, or add {LABELS_FILE} with 'file,label' lines.",
        )
    return classes


def read_labels_if_any(images: ImageSet, labels: Sequence[str]) -> "NDArray[np.int64] | None":
    """Return the class number of every image, [count], or None where none has a label.

    Raises:
        EdgeError: some images have a label and others have none, or one has a label that the config does not name.
    """
    import numpy as np

    names = _names(images, labels)
    if names is None:
        return None
    _refuse_unknown(images, names, labels)
    place = {label: number for number, label in enumerate(labels)}
    return np.array([place[name] for name in names], dtype=np.int64)


def read_label_sets_if_any(images: ImageSet, labels: Sequence[str]) -> "NDArray[np.int64] | None":
    """Return which labels hold of every image, 0 or 1, [count, labels], or None where none has any.

    An image's labels are separated by BETWEEN_LABELS; NO_LABEL says that none holds.

    Raises:
        EdgeError: as for one label.
    """
    import numpy as np

    names = _names(images, labels)
    if names is None:
        return None
    sets = [[part.strip() for part in name.split(BETWEEN_LABELS)] if name != NO_LABEL else [] for name in names]
    _refuse_unknown(images, [part for each in sets for part in each], labels)
    place = {label: number for number, label in enumerate(labels)}
    held = np.zeros((len(sets), len(labels)), dtype=np.int64)
    for row, each in zip(held, sets, strict=True):
        row[[place[part] for part in each]] = 1
    return held


def _refuse_unknown(images: ImageSet, names: Sequence[str], labels: Sequence[str]) -> None:
    unknown = sorted(set(names) - set(labels))
    if unknown:
        raise EdgeError(
            "EF-label-unknown",
            f"{images.path} has the label {unknown[0]!r} on {names.count(unknown[0])} of {len(names)} images, "
            f"which model.labels in the config does not name; {_known(unknown, labels)}",
        )


def _names(images: ImageSet, labels: Sequence[str]) -> list[str] | None:
    if not images.files:
        given = npz_labels(images.path)
        return None if given is None else [_name(label, labels) for label in given.tolist()]
    if images.path.suffix == LIST:
        return None if images.labels is None else list(images.labels)
    beside = [file.name for file in images.files if file.parent == images.path]
    if images.labels is None and len(beside) < len(images.files):
        raise EdgeError(
            "EF-golden-labels",
            f"{images.path}: {len(beside)} of {len(images.files)} images, such as {beside[0]}, are in no folder of a label; move "
            f"them into one, or add {LABELS_FILE} with 'file,label' lines.",
        )
    return None if images.labels is None else list(images.labels)


def _known(unknown: Sequence[str], labels: Sequence[str]) -> str:
    """Return what the config names instead of a label, and which other labels it does not name."""
    close = difflib.get_close_matches(unknown[0], labels, 1)
    known = (
        f"the closest of its {len(labels)} is {close[0]!r}" if close else f"its {len(labels)} begin with {', '.join(labels[:5])}"
    )
    more = f" Others it does not name: {', '.join(map(repr, unknown[1:6]))}{', ...' if len(unknown) > 6 else ''}."
    return f"{known}.{more if len(unknown) > 1 else ''}"


def _name(label: object, labels: Sequence[str]) -> str:
    return labels[label] if isinstance(label, int) and 0 <= label < len(labels) else str(label)
