# SPDX-License-Identifier: Apache-2.0
"""Reads the labels and the TF Lite Metadata in a .tflite file, by its bytes alone.

The format is TensorFlow's metadata_schema.fbs: a flatbuffer "M001" in the model's metadata "TFLITE_METADATA", each field by its
number in that schema; and labels.txt in a zip archive that follows the model.
"""

import io
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.readers.flatbuffer import FlatbufferTable
from edgeferry.exporters.readers.record import FileMetadata
from edgeferry.models.system.errors import EdgeError

METADATA_IDENTIFIER: Final = b"M001"
NAME: Final = b"TFLITE_METADATA"
# Enumerations of metadata_schema.fbs; it has none for BGR, which is written as unknown.
IMAGE_PROPERTIES: Final = 2
NORMALIZATION_OPTIONS: Final = 1
COLOUR_SPACES: Final = {"rgb": 1, "gray": 2, "bgr": 0}
KNOWN_COLOURS: Final = {number: name for name, number in COLOUR_SPACES.items() if number}
# The entry in the zip archive.
LABELS_FILE: Final = "labels.txt"
# Far more than any classifier's; an archive may claim a file that is larger than all memory.
LARGEST_LABELS: Final = 2**24


def metadata_of_tflite(path: Path) -> FileMetadata:
    """Return the labels, mean, std and colour that a .tflite file names.

    Raises:
        EdgeError: the file is damaged.
    """
    try:
        preprocessing = _preprocessing(memoryview(path.read_bytes()))
    except ValueError as error:
        raise EdgeError("EF-file-damaged", f"{path}: its metadata cannot be read ({error}); export it again") from None
    return FileMetadata(labels=labels_of(path), preprocessing=preprocessing)


def labels_of(path: Path) -> tuple[str, ...] | None:
    """Return the labels in the archive behind the model; None where there is none, or it is damaged."""
    try:
        # From memory: a read of a file would allocate all that a damaged archive claims to hold.
        with zipfile.ZipFile(io.BytesIO(path.read_bytes())) as archive:
            entry = archive.getinfo(LABELS_FILE)
            if entry.file_size > LARGEST_LABELS:
                return None
            with archive.open(entry) as file:
                return tuple(file.read(LARGEST_LABELS).decode("utf-8", "replace").splitlines())
    except Exception:  # noqa: BLE001 - zipfile raises a dozen kinds, zlib's and struct's among them
        return None


def _preprocessing(data: memoryview) -> dict[str, Any]:
    model = FlatbufferTable.root(data)
    place = next((entry.number(1, "<I") for entry in model.tables(6) if bytes(entry.bytes(0)) == NAME), None)
    if place is None:
        return {}
    described = FlatbufferTable.root(model.entry(4, place).bytes(0), METADATA_IDENTIFIER)
    images = (image for graph in islice(described.tables(3), 1) for image in islice(graph.tables(2), 1))
    return {key: value for image in images for key, value in _of_image(image).items()}


def _of_image(image: FlatbufferTable) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for unit in image.tables(4):
        options = unit.table(1)
        if unit.number(0, "<B") == NORMALIZATION_OPTIONS and options is not None:
            found |= {"mean": options.reals(0), "std": options.reals(1)}
    content = image.table(3)
    properties = None if content is None or content.number(0, "<B") != IMAGE_PROPERTIES else content.table(1)
    if properties is not None and (colour := KNOWN_COLOURS.get(properties.number(0, "<b"))):
        found["colour"] = colour
    return found
