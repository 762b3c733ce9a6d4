# SPDX-License-Identifier: Apache-2.0
"""What an exported file holds, by the reader of its kind; an artifact without a reader, by its manifest."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from edgeferry.exporters.inspect.manifest import inspect_manifest
from edgeferry.exporters.inspect.parent import checks_of, parent_next_to
from edgeferry.exporters.readers.edgetpu import KIND as EDGETPU
from edgeferry.exporters.readers.reader import first_bytes, reader_of, readers
from edgeferry.exporters.readers.record import Check, Inspection
from edgeferry.models.artifact import MANIFEST, Artifact, read_artifact
from edgeferry.models.system.errors import EdgeError

SAVEDMODEL_FILE: Final = "saved_model.pb"
OTHERS: Final = {b"PK\3\4": "a zip archive, as .keras files are", b"\x89HDF": "an HDF5 file, as .h5 files are"}


def inspect(path: Path, parent: Path | None = None) -> Inspection:
    """Return what a file, a package or an artifact's folder holds.

    A compiled Edge TPU file is compared with the int8 file it was compiled from: ``parent``, or the ``tflite-int8`` artifact
    next to its own. An artifact of a kind without a reader is described by its manifest.

    Raises:
        EdgeError: no reader knows the file, it is damaged, or ``parent`` does not apply to it.
    """
    try:
        found = _read(path)
        return found if found.kind != EDGETPU and parent is None else _with_parent(found, path, parent)
    except OSError as error:
        raise EdgeError("EF-file-unreadable", f"{error.filename or path} cannot be read: {error.strerror or error}") from None


def _read(path: Path) -> Inspection:
    if not path.exists():
        raise EdgeError("EF-file-missing", f"{path}: no such file; expected {_expected()}")
    if not _is_artifact(path):
        return _read_file(path)
    artifact = read_artifact(path)
    file = _main_file(path, artifact)
    reader = None if file == path else reader_of(file)
    if reader is None and artifact.kind in readers():
        title = readers()[artifact.kind].title
        raise EdgeError("EF-file-damaged", f"{file} is not a file of its artifact's kind ({title}); export it again")
    return inspect_manifest(path, artifact) if reader is None else reader.read(file)


def _read_file(path: Path) -> Inspection:
    reader = reader_of(path)
    if reader is None:
        raise EdgeError("EF-file-kind", f"{path} is {_described(path)}, which no reader knows; expected {_expected()}")
    return reader.read(path)


def _with_parent(found: Inspection, path: Path, parent: Path | None) -> Inspection:
    if found.kind != EDGETPU:
        raise EdgeError(
            "EF-parent-unexpected", f"{path} is not compiled for the Edge TPU, so it has no parent; leave --parent out"
        )
    file = _file_of(path)
    parent = parent or parent_next_to(file)
    if parent is None:
        reason = "no tflite-int8 artifact is next to it; name the file it was compiled from with --parent"
        return replace(found, checks=(*found.checks, Check("parent", "not checked", reason)))
    return replace(found, checks=(*found.checks, *checks_of(file, _file_of(parent))))


def _file_of(path: Path) -> Path:
    """Return the main file of an artifact's folder, or any other path as it is."""
    return _main_file(path, read_artifact(path)) if _is_artifact(path) else path


def _main_file(folder: Path, artifact: Artifact) -> Path:
    file = folder / artifact.main_file
    if not file.resolve().is_relative_to(folder.resolve()):
        raise EdgeError(
            "EF-path-outside", f"{folder / MANIFEST} names {file.name!r} as its main file, which is outside the folder"
        )
    return file


def _is_artifact(path: Path) -> bool:
    # By the exact name: where file names ignore case, a Core ML package's Manifest.json is not one.
    return path.is_dir() and any(each.name == MANIFEST for each in path.iterdir())


def _expected() -> str:
    titles = ", ".join(reader.title for reader in readers().values())
    return f"a file of one of these kinds: {titles}; or the folder of an artifact"


def _described(path: Path) -> str:
    if path.is_dir():
        return "a SavedModel" if (path / SAVEDMODEL_FILE).is_file() else "a folder"
    begin = first_bytes(path)
    known = (text for magic, text in OTHERS.items() if begin.startswith(magic))
    return "part of a SavedModel" if path.name == SAVEDMODEL_FILE else next(known, "of another kind")
