# SPDX-License-Identifier: Apache-2.0
"""Constant values: those in the program, and those in the weight file that it points to.

Source: MIL.proto (types and immediate values); coremltools 9.0, mlmodel/src/MILBlob/Blob/StorageFormat.hpp (the weight file).
"""

import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np

from edgeferry.models.coreml_messages import enum_name
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.arrays import COMPUTED_IN, Array, unpacked
from edgeferry.targets.mil.package import inside
from edgeferry.targets.target import Unsupported

# Where a path to a weight file starts, in a package.
MODEL_PATH: Final = "@model_path/"
# struct blob_metadata: sentinel, data type, size in bytes, offset of the data; 64 bytes with the reserved ones.
RECORD: Final = struct.Struct("<IIQQ")
RECORD_BYTES: Final = 64
SENTINEL: Final = 0xDEADBEEF
# struct storage_header, at the file's beginning: number of records, version; 64 bytes with the reserved ones.
HEADER: Final = struct.Struct("<II")
WEIGHT_FILE_VERSION: Final = 2
# enum BlobDataType, for the supported types of a constant.
BLOB_TYPES: Final = {
    1: "FLOAT16",
    2: "FLOAT32",
    3: "UINT8",
    4: "INT8",
    6: "INT16",
    7: "UINT16",
    8: "INT4",
    9: "UINT1",
    10: "UINT2",
    11: "UINT4",
    12: "UINT3",
    13: "UINT6",
    14: "INT32",
    15: "UINT32",
}
STORED_AS: Final = {"FLOAT16": np.dtype(np.float16)}
SUB_BYTE: Final = {"INT4": 4, "UINT1": 1, "UINT2": 2, "UINT3": 3, "UINT4": 4, "UINT6": 6}
# Also values that are not tensors: classes, strings.
Constant = Array | str | tuple[Any, ...]


@dataclass(frozen=True)
class TensorType:
    """A tensor's type as the program declares it: MIL's name of the number type, and the shape; None is an open size."""

    data_type: str
    shape: tuple[int | None, ...]


def tensor_type(message: Any) -> TensorType | None:
    """Return the tensor type that a message declares, or None where it declares no tensor."""
    if message.WhichOneof("type") != "tensorType":
        return None
    sizes = (each.constant.size if each.WhichOneof("dimension") == "constant" else None for each in message.tensorType.dimensions)
    return TensorType(enum_name(message.tensorType, "dataType"), tuple(sizes))


def constant(value: Any, model_folder: Path) -> Constant:
    """Return a constant as an array in its stored type (float16 stays float16), a string, or a tuple for a list.

    Raises:
        EdgeError: its data is missing, or differs from its declaration.
        Unsupported: it has a type that the evaluator does not support.
    """
    if value.type.WhichOneof("type") == "listType":
        return tuple(_member(each, model_folder) for each in value.immediateValue.list.values)
    declared = tensor_type(value.type)
    if declared is None:
        kind = value.type.WhichOneof("type") or "no type"
        raise Unsupported("EF-mil-unsupported", f"the program has a constant of {kind}, which the evaluator does not support")
    if value.WhichOneof("value") == "blobFileValue":
        return _from_weight_file(declared, value.blobFileValue, model_folder)
    return _immediate(declared, value.immediateValue.tensor)


def _member(value: Any, model_folder: Path) -> Any:
    member = constant(value, model_folder)
    return member.item() if isinstance(member, np.ndarray) and member.ndim == 0 else member


def _immediate(declared: TensorType, tensor: Any) -> Constant:
    kind = tensor.WhichOneof("value")
    if kind is None:
        raise EdgeError("EF-mil-constant", "a constant of the program has no value; export it again.")
    values = getattr(tensor, kind).values
    if declared.data_type == "STRING":
        return str(values[0]) if declared.shape == () else tuple(map(str, values))
    if kind == "bytes":
        return _from_bytes(declared, values)
    return _shaped(np.array(values, dtype=_dtype(declared)), declared)


def _from_bytes(declared: TensorType, data: bytes) -> Array:
    needed = _bytes_of(declared)
    if len(data) < needed:
        raise EdgeError(
            "EF-mil-constant", f"a constant of the program has {len(data)} bytes; expected {needed}. Export it again."
        )
    if declared.data_type in SUB_BYTE:
        numbers = unpacked(data, SUB_BYTE[declared.data_type], _count(declared), signed=declared.data_type == "INT4")
        return _shaped(numbers, declared)
    return _shaped(np.frombuffer(data[:needed], _dtype(declared)), declared)


def _from_weight_file(declared: TensorType, blob: Any, model_folder: Path) -> Array:
    name = inside(blob.fileName.removeprefix(MODEL_PATH), model_folder)
    path = model_folder / name
    if not path.is_file():
        raise EdgeError("EF-mlpackage-incomplete", f"the package lacks {name}, its weights; export it again.")
    size = path.stat().st_size
    with path.open("rb") as file:
        _check_header(file.read(HEADER.size), name)
        offset = _checked_record(declared, file, blob.offset, size)
    if offset + _bytes_of(declared) > size:
        end = offset + _bytes_of(declared)
        raise EdgeError("EF-weight-file-short", f"{name} ends at byte {size}; a weight ends at byte {end}. Export it again.")
    data = np.memmap(path, np.uint8, "r", offset, _bytes_of(declared))
    return _from_bytes(declared, data.tobytes())


def _check_header(header: bytes, name: str) -> None:
    version = HEADER.unpack(header)[1] if len(header) == HEADER.size else None
    if version is not None and version != WEIGHT_FILE_VERSION:
        raise Unsupported("EF-weight-file-version", f"{name} has version {version}; the evaluator supports {WEIGHT_FILE_VERSION}")


def _checked_record(declared: TensorType, file: Any, offset: int, size: int) -> int:
    """Return the offset of a weight's data, from the record at ``offset``."""
    if offset + RECORD_BYTES > size:
        raise EdgeError(
            "EF-weight-file-short", f"{file.name} ends at byte {size}; a weight's record begins at {offset}. Export it again."
        )
    file.seek(offset)
    sentinel, number, bytes_, data_offset = RECORD.unpack(file.read(RECORD.size))
    if sentinel != SENTINEL:
        raise EdgeError("EF-weight-file-record", f"{file.name} has no weight record at byte {offset}; export it again.")
    if BLOB_TYPES.get(number) != declared.data_type or bytes_ != _bytes_of(declared):
        found = f"{bytes_} bytes of {BLOB_TYPES.get(number, number)}"
        expected = f"{_bytes_of(declared)} of {declared.data_type}"
        raise EdgeError(
            "EF-weight-file-record", f"{file.name} has {found} at byte {offset}; expected {expected}. Export it again."
        )
    return int(data_offset)


def _count(declared: TensorType) -> int:
    if None in declared.shape:
        raise EdgeError("EF-mil-constant", f"a constant of the program has no fixed shape ({declared.shape}); export it again.")
    return int(prod(size or 0 for size in declared.shape))


def _bytes_of(declared: TensorType) -> int:
    if declared.data_type in SUB_BYTE:
        return -(-_count(declared) * SUB_BYTE[declared.data_type] // 8)
    return _count(declared) * int(_dtype(declared).itemsize)


def _dtype(declared: TensorType) -> Any:
    dtype = STORED_AS.get(declared.data_type, COMPUTED_IN.get(declared.data_type))
    if dtype is None:
        raise Unsupported(
            "EF-mil-unsupported", f"the program has a constant of {declared.data_type}, which the evaluator does not support"
        )
    return dtype


def _shaped(numbers: Array, declared: TensorType) -> Array:
    if numbers.size != _count(declared):
        raise EdgeError(
            "EF-mil-constant", f"a constant of the program has {numbers.size} values; expected {declared.shape}. Export it again."
        )
    return numbers.reshape(tuple(size or 0 for size in declared.shape))
