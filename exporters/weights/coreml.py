# SPDX-License-Identifier: Apache-2.0
"""The constants of a Core ML package's ML Program, decompressed, by its protobuf messages alone.

Sources: coremltools 9.0, MIL.proto, mlmodel/src/MILBlob/Blob/StorageFormat.hpp (the weight file), and the documentation of
``constexpr_affine_dequantize``, ``constexpr_lut_to_dense`` (iOS 16 and 18) and ``constexpr_blockwise_shift_scale`` (iOS 18).
"""

import struct
from collections.abc import Iterator
from math import log2, prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.readers.coreml import operations_in, specification_in
from edgeferry.exporters.weights.stored import Role, StoredWeight, as_float32
from edgeferry.models.coreml_messages import enum_name, messages
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]

MODEL_PATH: Final = "@model_path/"
RECORD: Final = struct.Struct("<IIQQ")
SENTINEL: Final = 0xDEADBEEF
DTYPES: Final = {
    "FLOAT16": "float16", "FLOAT32": "float32", "INT8": "int8", "UINT8": "uint8", "INT16": "int16", "UINT16": "uint16",
    "INT32": "int32", "UINT32": "uint32",
}  # fmt: skip
SUB_BYTE: Final = {"INT4": 4, "UINT1": 1, "UINT2": 2, "UINT3": 3, "UINT4": 4, "UINT6": 6}
# Bytes that a constant may have, so that no damaged size is allocated.
LARGEST: Final = 2**31
# Operations with weights and a bias: the names of both, and the axes of the weights.
LINEAR: Final = {
    "conv": ("weight", "OIHW"),
    "conv_transpose": ("weight", "IOHW"),
    "linear": ("weight", "OI"),
    "matmul": ("y", "IO"),
}
# Numbers that compressed weights pass through in float16, apart from a scale: weight and product, each rounded to half a step.
ROUNDINGS: Final = 2


def stored_weights(path: Path) -> Iterator[StoredWeight]:
    """Yield each floating-point or compressed constant of a package, or of a specification in one, and what it is used for."""
    file = specification_in(path) if path.is_dir() else path
    program = _Program(messages().Model.FromString(file.read_bytes()), file.parent)
    for operation in program.operations:
        if operation.type == "const" or operation.type.startswith("constexpr_"):
            name = operation.outputs[0].name
            found = program.stored(operation, program.uses.get(name, ("other", "", None)))
            if found is not None and found.values.ndim:
                yield found


class _Program:
    """The operations of one specification, and the weight file next to it."""

    def __init__(self, model: Any, folder: Path) -> None:
        self._folder = folder
        self.operations = list(operations_in(model))
        self._consts = {each.outputs[0].name: each for each in self.operations if each.type == "const"}
        self.uses = self._found_uses()
        self._inner = {
            bound.name
            for each in self.operations
            if each.type.startswith("constexpr_")
            for argument in each.inputs.values()
            for bound in argument.arguments
        }

    def _found_uses(self) -> dict[str, tuple[Role, str, str | None]]:
        uses: dict[str, tuple[Role, str, str | None]] = {}
        for each in self.operations:
            if each.type in LINEAR:
                field, axes = LINEAR[each.type]
                weights = _name(each, field)
                if each.type == "matmul" and self._is_true(each, "transpose_y"):
                    axes = "OI"
                uses[weights] = ("weight", axes, None)
                if bias := _name(each, "bias"):
                    uses[bias] = ("bias", "", weights)
        return uses

    def _is_true(self, operation: Any, field: str) -> bool:
        value = self._value(operation, field)
        return value is not None and bool(value.any())

    def stored(self, operation: Any, use: tuple[Role, str, str | None]) -> StoredWeight | None:
        """Return what a constant holds, or None where it holds no weights."""
        name, kind = operation.outputs[0].name, operation.type
        if kind == "const":
            values = None if name in self._inner else self._array(operation.attributes["val"])
            if values is None or values.dtype.kind != "f":
                return None
            return as_float32(name, values, use[0], _axes(use[1], values), use[2])
        if kind == "constexpr_lut_to_dense":
            return self._palettized(operation, use)
        if kind == "constexpr_affine_dequantize":
            return self._quantized(operation, use, "quantized_data", "zero_point")
        if kind == "constexpr_blockwise_shift_scale":
            return self._quantized(operation, use, "data", "offset")
        raise EdgeError("EF-weights-kind", f"{name} is stored as {kind}; expected a constant, int8 or palettized weights.")

    def _quantized(self, operation: Any, use: tuple[Role, str, str | None], data: str, shift: str) -> StoredWeight:
        import numpy as np

        numbers, scale, offset = (self._value(operation, each) for each in (data, "scale", shift))
        if numbers is None or scale is None:
            raise ValueError(f"{operation.outputs[0].name} lacks its numbers or scale")
        factor = _per_axis(scale, numbers, self._value(operation, "axis")).astype(np.float32)
        zero = np.zeros((), np.float32) if offset is None else _per_axis(offset, numbers, self._value(operation, "axis"))
        levels = numbers.astype(np.float32) - zero.astype(np.float32)
        values = levels * factor
        # A scale is rounded to float16 too: in a channel without use it is of the size of float16's smallest numbers, or 0.
        step = factor + _float16_spacing(values) * ROUNDINGS + np.abs(levels) * _float16_spacing(factor)
        ends = np.iinfo(numbers.dtype)
        limits = ((ends.min - zero) * factor, (ends.max - zero) * factor)
        return StoredWeight(operation.outputs[0].name, values, step, use[0], _axes(use[1], values), use[2], limits)

    def _palettized(self, operation: Any, use: tuple[Role, str, str | None]) -> StoredWeight:
        import numpy as np

        indices, table, shape = (self._value(operation, each) for each in ("indices", "lut", "shape"))
        if indices is None or table is None or table.shape[-1] > table.size:
            raise ValueError(f"{operation.outputs[0].name} lacks its indices or table")
        palette = table.reshape(-1).astype(np.float32)
        if shape is not None:
            sizes = tuple(map(int, shape))
            indices = _unpacked(indices.tobytes(), int(log2(palette.size)), prod(sizes)).reshape(sizes)
        elif table.size != table.shape[-2]:
            raise EdgeError("EF-weights-kind", f"{operation.outputs[0].name} has more than one palette; expected one.")
        values = palette[indices]
        step = _float16_spacing(values) * ROUNDINGS
        name = operation.outputs[0].name
        return StoredWeight(name, values, step, use[0], _axes(use[1], values), use[2], palette=np.sort(palette))

    def _value(self, operation: Any, field: str) -> "Array | None":
        """Return an input or attribute of an operation as an array."""
        if field in operation.attributes:
            return self._array(operation.attributes[field])
        if field not in operation.inputs or not operation.inputs[field].arguments:
            return None
        bound = operation.inputs[field].arguments[0]
        if bound.name:
            made = self._consts.get(bound.name)
            return None if made is None else self._array(made.attributes["val"])
        return self._array(bound.value)

    def _array(self, value: Any) -> "Array | None":
        import numpy as np

        if value.type.WhichOneof("type") != "tensorType":
            return None
        kind = value.type.tensorType
        dtype, shape = enum_name(kind, "dataType"), tuple(int(each.constant.size) for each in kind.dimensions)
        if value.WhichOneof("value") == "blobFileValue":
            return _decoded(self._blob(value.blobFileValue), dtype, shape)
        tensor = value.immediateValue.tensor
        member = tensor.WhichOneof("value")
        if member is None or member == "strings":
            return None
        numbers = getattr(tensor, member).values
        if member == "bytes":
            return _decoded(numbers, dtype, shape)
        return np.array(numbers, {"FLOAT32": np.float32}.get(dtype)).reshape(shape)

    def _blob(self, blob: Any) -> bytes:
        name = blob.fileName.removeprefix(MODEL_PATH)
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise EdgeError("EF-path-outside", f"the package names the file {name!r}, which is outside of it; export it again.")
        with (self._folder / name).open("rb") as file:
            file.seek(blob.offset)
            sentinel, _, size, offset = RECORD.unpack(file.read(RECORD.size))
            if sentinel != SENTINEL or size > LARGEST:
                raise ValueError(f"{name} has no weight record at byte {blob.offset}")
            file.seek(offset)
            return bytes(file.read(size))


def _decoded(data: bytes, dtype: str, shape: tuple[int, ...]) -> "Array | None":
    import numpy as np

    if dtype in SUB_BYTE:
        numbers = _unpacked(data, SUB_BYTE[dtype], prod(shape))
        return (numbers.astype(np.int8) if dtype == "INT4" else numbers).reshape(shape)
    return np.frombuffer(data, DTYPES[dtype]).reshape(shape) if dtype in DTYPES else None


def _unpacked(data: bytes, bits: int, count: int) -> "Array":
    """Return numbers of fewer than 8 bits, packed from the lowest bit up."""
    import numpy as np

    if bits == 8:
        return np.frombuffer(data, np.uint8, count)
    stream = np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little", count=bits * count).reshape(count, bits)
    return np.packbits(stream, axis=1, bitorder="little").reshape(count)


def _per_axis(values: "Array", numbers: "Array", axis: "Array | None") -> "Array":
    import numpy as np

    if values.ndim == numbers.ndim:
        for at, size in enumerate(numbers.shape):
            values = values if values.shape[at] in {1, size} else np.repeat(values, size // values.shape[at], axis=at)
        return values
    shape = [1] * numbers.ndim
    if values.size > 1 and axis is not None:
        shape[int(axis)] = values.size
    return values.reshape(shape)


def _float16_spacing(values: "Array") -> "Array":
    import numpy as np

    with np.errstate(over="ignore"):
        return np.nan_to_num(np.spacing(np.abs(values).astype(np.float16)).astype(np.float32))


def _axes(axes: str, values: "Array") -> str:
    # A convolution of sequences has no height.
    axes = axes.replace("H", "") if values.ndim == 3 else axes
    return axes if len(axes) == values.ndim else ""


def _name(operation: Any, field: str) -> str:
    bound = operation.inputs[field].arguments if field in operation.inputs else ()
    return str(bound[0].name) if bound else ""
