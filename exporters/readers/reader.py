# SPDX-License-Identifier: Apache-2.0
"""What a reader of files is, and which there are: each module of the exporters that binds READERS adds its own."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import edgeferry.exporters
from edgeferry.exporters.readers.record import FileMetadata, Inspection
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.registry import records_in

if TYPE_CHECKING:
    from edgeferry.exporters.weights.stored import StoredWeight

# A .tflite file's identifier ends at its eighth byte.
FIRST_BYTES: Final = 8
# protobuf's own limit on a message, in bytes.
LARGEST_PROTOBUF: Final = 2**31 - 1
# How protobuf marks field 1: in ONNX and Core ML files a version, which they begin with. It does not tell the two apart.
PROTOBUF_FIELD_1: Final = b"\x08"
PREPROCESSING: Final = frozenset(each.name for each in fields(Preprocessing))


@dataclass(frozen=True)
class Reader:
    """What reads one kind of file or folder.

    ``kind`` is the word in the JSON and in an artifact's manifest, ``title`` what a person reads. ``matches(path)`` looks at the
    first bytes, and at the suffix where they do not decide; no path matches two readers. ``read(path)`` imports the framework
    that it needs, and raises EdgeError where the file is damaged. ``metadata(path)`` returns what the file says of itself, where
    the kind has a place for that; it imports no framework. ``named`` holds the keys that all of edgeferry's own files name.
    ``weights(path)``, where there is one, yields each floating-point or quantized constant that the file's operations use, one at
    a time.
    """

    kind: str
    title: str
    matches: Callable[[Path], bool]
    read: Callable[[Path], Inspection]
    weights: "Callable[[Path], Iterator[StoredWeight]] | None" = None
    metadata: Callable[[Path], FileMetadata] | None = None
    named: frozenset[str] = frozenset()


@cache
def readers() -> dict[str, Reader]:
    """Return every reader by its kind; imports no framework."""
    return {reader.kind: reader for _, reader in records_in(edgeferry.exporters, "READERS")}


def in_json(texts: Mapping[str, Any], path: Path) -> FileMetadata:
    """Return the metadata that exporters write as JSON under the keys labels, output and preprocessing.

    Raises:
        EdgeError: a value is of another type.
    """
    labels, preprocessing = texts.get("labels"), texts.get("preprocessing") or {}
    whole = isinstance(preprocessing, dict) and (labels is None or isinstance(labels, list))
    if not whole:
        raise EdgeError("EF-file-damaged", f"{path}: its labels or preprocessing are not those of an exported file; export again")
    return FileMetadata(None if labels is None else tuple(map(str, labels)), texts.get("output"), preprocessing)


def reader_of(path: Path) -> Reader | None:
    """Return the reader of a file or folder, or None where there is none."""
    return next((reader for reader in readers().values() if reader.matches(path)), None)


def first_bytes(path: Path) -> bytes:
    """Return the first 8 bytes of a file, as many as it has; none of a folder."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        return file.read(FIRST_BYTES)
