# SPDX-License-Identifier: Apache-2.0
"""What an exported file holds, read from the file alone, whichever of the kinds exported here it is."""

from dataclasses import replace
from pathlib import Path
from typing import Final

from edgeferry.exporters.inspect.parent import checks_of, parent_beside
from edgeferry.exporters.inspect.record import Check, Inspection
from edgeferry.models.artifact import MANIFEST, read_artifact
from edgeferry.models.system.errors import EdgeError

READ: Final = (
    "TF Lite (.tflite, compiled for the Edge TPU or not), ONNX (.onnx), Core ML (.mlpackage), TensorFlow.js (model.json), "
    "and the folder of an artifact that holds one of them"
)
TFLITE: Final = b"TFL3"
TFJS_FILE: Final = "model.json"
COREML_SUFFIX: Final = ".mlmodel"
# Both formats are protobuf, and begin with a version in field 1.
PROTOBUF: Final = b"\x08"
SAVEDMODEL_FILE: Final = "saved_model.pb"
OTHERS: Final = {b"PK\3\4": "a zip archive, as .keras is", b"\x89HDF": "an HDF5 file, as .h5 is"}


def inspect(path: Path, parent: Path | None = None) -> Inspection:
    """Return what a file, package or artifact's folder holds.

    A compiled Edge TPU file is held against the int8 file it was compiled from: ``parent``, else the ``tflite-int8`` artifact
    beside its own.

    Raises:
        EdgeError: there is no reader for it, or it is damaged.
    """
    try:
        return _with_parent(path, parent)
    except OSError as error:
        raise EdgeError(f"{error.filename or path} cannot be read: {error.strerror or error}") from None


def _with_parent(path: Path, parent: Path | None) -> Inspection:
    file = _file_of(path)
    found = _read(file)
    if found.kind != "edgetpu":
        if parent is not None:
            raise EdgeError(f"{path} is not compiled for the Edge TPU, so it has no parent; leave --parent out")
        return found
    parent = parent or parent_beside(file)
    if parent is None:
        reason = "no tflite-int8 artifact stands beside it; name the file it was compiled from with --parent"
        return replace(found, checks=(*found.checks, Check("parent", "not checked", reason)))
    return replace(found, checks=(*found.checks, *checks_of(file, _file_of(parent))))


def _file_of(path: Path) -> Path:
    """Return what to read of a path: of an artifact's folder its main file."""
    if not path.exists():
        raise EdgeError(f"{path}: no such file; expected {READ}")
    if path.is_file() or _is_package(path):
        return path
    if (path / MANIFEST).is_file():
        main = path / read_artifact(path).main_file
        if main.resolve() == path.resolve() or main.name == SAVEDMODEL_FILE:
            raise EdgeError(f"{path} is a SavedModel; no reader for it: read are {READ}")
        if not main.resolve().is_relative_to(path.resolve()):
            raise EdgeError(f"{path / MANIFEST} names {main.name!r} as its main file, which does not lie in the folder")
        return _file_of(main)
    if (path / TFJS_FILE).is_file():
        return path / TFJS_FILE
    known = "a SavedModel" if (path / SAVEDMODEL_FILE).is_file() else "a folder"
    raise EdgeError(f"{path} is {known}; no reader for it: read are {READ}")


def _is_package(path: Path) -> bool:
    return (path / "Data").is_dir() and (path / "Manifest.json").is_file()


def _read(file: Path) -> Inspection:
    if file.is_dir():
        from edgeferry.exporters.readers.coreml import read_coreml

        return read_coreml(file)
    if not file.is_file():
        raise EdgeError(f"{file} is neither a file nor a folder; expected {READ}")
    with file.open("rb") as opened:
        first = opened.read(8)
    if first[4:8] == TFLITE:
        from edgeferry.exporters.readers.tflite_facts import read_tflite

        return read_tflite(file)
    if first.lstrip()[:1] == b"{":
        from edgeferry.exporters.readers.tfjs import read_tfjs

        return read_tfjs(file)
    if first[:1] == PROTOBUF and file.name != SAVEDMODEL_FILE:
        return _read_protobuf(file)
    known = (
        "a SavedModel; "
        if file.name == SAVEDMODEL_FILE
        else next((f"{told}; " for begin, told in OTHERS.items() if first.startswith(begin)), "")
    )
    raise EdgeError(f"{file} is {known or 'of no kind that is known here; '}no reader for it: read are {READ}")


def _read_protobuf(file: Path) -> Inspection:
    if file.suffix == COREML_SUFFIX:
        from edgeferry.exporters.readers.coreml import read_coreml

        return read_coreml(file)
    from edgeferry.exporters.readers.onnx import read_onnx

    return read_onnx(file)
