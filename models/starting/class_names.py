# SPDX-License-Identifier: Apache-2.0
"""The labels of a model that is given with photographs: from a file of them, or from the photographs' folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeferry.models.audit.finding import some_of
from edgeferry.models.config.labels import labels_in
from edgeferry.models.starting.photographs import Photographs
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.registry import closest

# How files of labels are named; they are looked for next to the model and in the folder of photographs.
FILES: Final = ("labels.txt", "class_names.txt", "classes.txt", "labels.json", "class_names.json", "class_indices.json")
CODE_POINTS: Final = "in code-point order, as image_dataset_from_directory numbers them"


@dataclass(frozen=True)
class ClassNames:
    """The labels in the order of the model's outputs, the file that they are in, if any, and where they come from in words."""

    labels: tuple[str, ...]
    file: Path | None
    source: str


def class_names(model: Path, outputs: int, photographs: Photographs, file: Path | None) -> ClassNames:
    """Return the labels of a model with so many outputs.

    Raises:
        EdgeError: their number is not that of the outputs, or photographs have a label that is not among them.
    """
    if file is not None:
        return _checked(ClassNames(labels_in(file), file, f"those of {file.name}, in this order"), outputs, model, photographs)
    if (found := _beside(model, outputs, photographs)) is not None:
        return found
    if photographs.labels is None:
        numbers = tuple(map(str, range(outputs)))
        return ClassNames(numbers, None, "numbers, since neither a file of labels nor folders name the classes (--labels FILE)")
    names = photographs.names
    if len(names) != outputs:
        raise EdgeError(
            "EF-photographs-labels",
            f"{photographs.folder} has {len(names)} labels ({some_of(names)}), but {model.name} has {outputs} outputs. Name "
            "all of its classes, in its order, with --labels FILE, or name the folder whose folders are its classes.",
        )
    return ClassNames(names, None, f"the folders of {photographs.folder.name}, {CODE_POINTS}")


def _beside(model: Path, outputs: int, photographs: Photographs) -> ClassNames | None:
    """Return the labels of a file next to the model or in the folder of photographs that fits both."""
    folders = dict.fromkeys([model.parent, photographs.folder, photographs.folder.parent])
    for file in (folder / name for folder in folders for name in FILES):
        try:
            labels = labels_in(file) if file.is_file() else ()
        except EdgeError:
            continue
        if len(labels) == outputs and set(photographs.names) <= set(labels):
            return ClassNames(labels, file, f"those of {file.name}, in this order")
    return None


def _checked(found: ClassNames, outputs: int, model: Path, photographs: Photographs) -> ClassNames:
    if len(found.labels) != outputs:
        raise EdgeError(
            "EF-photographs-labels",
            f"{found.file} has {len(found.labels)} labels ({some_of(found.labels)}), but {model.name} has {outputs} outputs.",
        )
    if unknown := sorted(set(photographs.names) - set(found.labels)):
        raise EdgeError("EF-photographs-labels", f"{photographs.folder} {_unknown(unknown, found.labels)} of {found.file}.")
    return found


def _unknown(unknown: Sequence[str], labels: Sequence[str]) -> str:
    close = closest(unknown[0], labels)
    meant = f" ({close!r} is)" if close else ""
    return f"has the folders {some_of(unknown)}, of which {unknown[0]!r} is not{meant} one of the {len(labels)} labels"
