# SPDX-License-Identifier: Apache-2.0
"""Reads a Core ML package, or the specification in it, on any system, by its protobuf messages alone.

Sources: coremltools 9.0, ``mlmodel/format/Model.proto``, ``MIL.proto`` and ``FeatureTypes.proto``.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.readers.protobuf import messages_at, texts_by_key
from edgeferry.exporters.readers.reader import LARGEST_PROTOBUF, PREPROCESSING, PROTOBUF_FIELD_1, Reader, first_bytes, in_json
from edgeferry.exporters.readers.record import AS_IS, FileMetadata, Inspection, Weights, counted, weighed
from edgeferry.models.artifact import Tensor
from edgeferry.models.coreml_messages import enum_name, messages
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import files_below

if TYPE_CHECKING:
    from edgeferry.exporters.weights.stored import StoredWeight

MANIFEST: Final = "Manifest.json"
DATA: Final = "Data"
# A specification on its own, as inside a package.
SUFFIX: Final = ".mlmodel"
LARGEST_MANIFEST: Final = 2**20
# Fields of Model, of its ModelDescription and of its Metadata in Model.proto.
DESCRIPTION: Final = 2
METADATA: Final = 100
USER_DEFINED: Final = 100
# The oldest system of a specification version; source: Model.proto.
SYSTEMS: Final = {
    1: "iOS 11", 2: "iOS 11.2", 3: "iOS 12", 4: "iOS 13", 5: "iOS 14", 6: "iOS 15", 7: "iOS 16", 8: "iOS 17", 9: "iOS 18",
    10: "iOS 26",
}  # fmt: skip
BYTES: Final = {"FLOAT16": 2, "FLOAT32": 4, "FLOAT64": 8, "INT4": 0.5, "INT8": 1, "INT16": 2, "INT32": 4, "INT64": 8}


@dataclass(frozen=True)
class CoremlFacts:
    """Of a Core ML package: ``system`` is the oldest iOS it runs on, ``colour_spaces`` are those of its images by input."""

    specification_version: int
    system: str
    type: str
    colour_spaces: dict[str, str]
    classes: int | None
    metadata: tuple[str, ...]


def read_coreml(path: Path) -> Inspection:
    """Return what a package (a folder), or a specification file, holds.

    Raises:
        EdgeError: it is damaged, or coremltools, which has the messages, is not installed.
    """
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    file = specification_in(path) if path.is_dir() else path
    size = file.stat().st_size
    if size > LARGEST_PROTOBUF:
        raise EdgeError(
            "EF-file-too-large",
            f"{file} has {size} bytes; Core ML's specification is protobuf, which reads {LARGEST_PROTOBUF} at most.",
        )
    try:
        model = messages().Model.FromString(file.read_bytes())
        held = sum(each.stat().st_size for each in files_below(path)) if path.is_dir() else size
        return _read(model, held)
    # A string that is not UTF-8 raises when it is read.
    except (DecodeError, ValueError, RecursionError, MemoryError, OverflowError) as error:
        raise EdgeError(
            "EF-file-damaged", f"{file} cannot be read as Core ML ({type(error).__name__}: {error}); export or copy it again."
        ) from None


def metadata_of_coreml(path: Path) -> FileMetadata:
    """Return the preprocessing in a package's user-defined metadata; its labels are part of its program.

    Raises:
        EdgeError: it is damaged.
    """
    file = specification_in(path) if path.is_dir() else path
    try:
        described = messages_at(memoryview(file.read_bytes()), DESCRIPTION)
        metadata = (held for each in described for held in messages_at(each, METADATA))
        texts = texts_by_key(entry for each in metadata for entry in messages_at(each, USER_DEFINED))
        values: dict[str, Any] = {key: json.loads(texts[key]) for key in ("preprocessing",) if key in texts}
    except ValueError as error:
        raise EdgeError("EF-file-damaged", f"{file}: its metadata cannot be read ({error}); export it again") from None
    return in_json(values, path)


def specification_in(path: Path) -> Path:
    """Return the specification file of a package.

    Raises:
        EdgeError: there is none, or it is outside of the package.
    """
    try:
        with (path / MANIFEST).open("rb") as manifest:
            fields = json.loads(manifest.read(LARGEST_MANIFEST))
        name = str(fields["itemInfoEntries"][fields["rootModelIdentifier"]]["path"])
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise EdgeError("EF-path-outside", f"{path} names the file {name!r}, which is outside the package; export it again.")
        file = path / DATA / name
        if not file.is_file():
            raise EdgeError("EF-file-damaged", f"{path} lacks {DATA}/{name}, its specification; export or copy it again.")
    except OSError as error:
        raise EdgeError(
            "EF-file-kind", f"{path} is not a Core ML package: {MANIFEST} cannot be read ({error.strerror})."
        ) from None
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise EdgeError(
            "EF-file-damaged", f"{path / MANIFEST} cannot be read as a package's manifest ({error!r}); export it again."
        ) from None
    return file


def _read(model: Any, size: int) -> Inspection:
    kind = model.WhichOneof("Type")
    if kind is None:
        raise ValueError("it has no model")
    described = model.description
    operations = list(operations_in(model))
    return Inspection(
        kind="coreml",
        bytes=size,
        operations=counted((operation.type, None) for operation in operations),
        inputs=tuple(map(_tensor, described.input)),
        outputs=tuple(map(_tensor, described.output)),
        weights=_weights(operations),
        facts=CoremlFacts(
            specification_version=model.specificationVersion,
            system=SYSTEMS.get(model.specificationVersion, "unknown"),
            type=kind,
            colour_spaces={
                each.name: enum_name(each.type.imageType, "colorSpace")
                for each in described.input
                if each.type.WhichOneof("Type") == "imageType"
            },
            classes=_classes(operations),
            metadata=tuple(sorted(described.metadata.userDefined)),
        ),
    )


def operations_in(model: Any) -> Iterator[Any]:
    """Yield the operations of all functions, those in nested blocks included."""
    functions = model.mlProgram.functions.values()
    blocks = [block for function in functions for block in function.block_specializations.values()]
    while blocks:
        for operation in blocks.pop().operations:
            blocks.extend(operation.blocks)
            yield operation


def _weights(operations: list[Any]) -> tuple[Weights, ...]:
    return weighed(each for operation in operations for each in _constants(operation))


def _constants(operation: Any) -> Iterator[tuple[str, str, int]]:
    stored = operation.type.removeprefix("constexpr_") if operation.type.startswith("constexpr_") else AS_IS
    for place in (operation.attributes, *(argument.arguments for argument in operation.inputs.values())):
        values = place.values() if hasattr(place, "values") else [each.value for each in place if each.HasField("value")]
        for value in values:
            if value.HasField("blobFileValue"):
                tensor = value.type.tensorType
                dtype, count = enum_name(tensor, "dataType"), 1
                for dimension in tensor.dimensions:
                    count = min(count * dimension.constant.size, LARGEST_PROTOBUF)
                yield dtype.lower(), stored, int(count * BYTES.get(dtype.removeprefix("U"), 0))


def _classes(operations: list[Any]) -> int | None:
    """Return how many labels the ML Program's ``classify`` has; None where there is no such operation."""
    for operation in operations:
        if operation.type == "classify" and "classes" in operation.inputs:
            values = [each.value.immediateValue for each in operation.inputs["classes"].arguments]
            return sum(len(value.list.values) or len(value.tensor.strings.values) for value in values)
    return None


def _tensor(feature: Any) -> Tensor:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        image = feature.type.imageType
        channels = 1 if "GRAY" in enum_name(image, "colorSpace") else 3
        return Tensor(feature.name, (image.height, image.width, channels), "image")
    if kind == "multiArrayType":
        array = feature.type.multiArrayType
        return Tensor(feature.name, tuple(array.shape), enum_name(array, "dataType").lower())
    return Tensor(feature.name, (), (kind or "unknown").removesuffix("Type"))


def _matches(path: Path) -> bool:
    if path.is_dir():
        return (path / DATA).is_dir() and (path / MANIFEST).is_file()
    return path.suffix == SUFFIX and first_bytes(path)[:1] == PROTOBUF_FIELD_1


def _stored(path: Path) -> "Iterator[StoredWeight]":
    from edgeferry.exporters.weights.coreml import stored_weights

    return stored_weights(path)


READERS = (Reader("coreml", "Core ML", _matches, read_coreml, _stored, metadata_of_coreml, PREPROCESSING),)
