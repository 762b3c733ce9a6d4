# SPDX-License-Identifier: Apache-2.0
"""A stand-in for the compiler's files: an int8 file of one Dense layer, and one with the structure of a file compiled from it.

No Edge TPU runs the second: its instructions are zeros. It is only for reading, where no real file is available.
"""

from types import SimpleNamespace
from typing import Any

import flatbuffers
import numpy as np
from flatbuffers import flexbuffers

from edgeferry.exporters.readers.tflite_schema import tflite_schema

TOKEN = 0x6D146C3F97D6648C
INPUT, OUTPUT = ("image", [1, 16], 0.5, -3), ("scores", [1, 4], 0.00390625, -128)
Layer = tuple[str, list[int], float, int]
# The enumeration DataType of executable.fbs; a package describes int8 as uint8.
UINT8 = 0


def weights_of(seed: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).integers(-127, 128, 64).astype(np.int8)


def parent(seed: int = 0, scale: float = 0.5) -> bytes:
    """Return an int8 file of one FULLY_CONNECTED."""
    schema = tflite_schema()
    weights = _tensor("weights", [4, 16], 0.01, 0, 1)
    operation = SimpleNamespace(code=schema.BuiltinOperator.FULLY_CONNECTED, custom=None, options=None, inputs=[0, 2])
    return _model([_tensor(INPUT[0], INPUT[1], scale, INPUT[3], 0), _tensor(*OUTPUT, 0), weights], operation, weights_of(seed))


def compiled(seed: int = 0, *, caching: bool = True) -> bytes:
    """Return the file as if compiled."""
    blob = (weights_of(seed).view(np.uint8) ^ 0x80).tobytes() + bytes(64)
    kinds = [(2, b"", 128), (1, blob, 32)] if caching else [(0, blob, 128)]
    layers = [[(*INPUT[:3], INPUT[3] + 128)], [(*OUTPUT[:3], OUTPUT[3] + 128)]]
    package = _package([_executable(kind, parameters, count, layers) for kind, parameters, count in kinds])
    custom = SimpleNamespace(
        code=tflite_schema().BuiltinOperator.CUSTOM, custom="edgetpu-custom-op", options=_options(package), inputs=[0]
    )
    return _model([_tensor(*INPUT, 0), _tensor(*OUTPUT, 0)], custom, None)


def program_between(inputs: list[Layer], outputs: list[Layer]) -> bytes:
    """Return the options of an edgetpu-custom-op: a program of zeros between layers (name, shape, scale, zero point)."""
    return _options(_package([_executable(0, b"", 128, [inputs, outputs])]))


def _options(package: bytes) -> bytes:
    builder = flexbuffers.Builder()
    with builder.Map():
        builder.Int("1", 0)
        builder.Blob("4", package)
        builder.Int("5", -1)
    return bytes(builder.Finish())


def _tensor(name: str, shape: list[int], scale: float, zero_point: int, buffer: int) -> Any:
    schema = tflite_schema()
    tensor, quantization = schema.TensorT(), schema.QuantizationParametersT()
    quantization.scale, quantization.zeroPoint = [scale], [zero_point]
    tensor.name, tensor.shape, tensor.type, tensor.buffer = name, shape, schema.TensorType.INT8, buffer
    tensor.quantization = quantization
    return tensor


def _model(tensors: list[Any], operation: Any, weights: np.ndarray[Any, Any] | None) -> bytes:
    schema = tflite_schema()
    model, graph, operator, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode, code.deprecatedBuiltinCode = operation.code, min(operation.code, 127)
    code.customCode, code.version = operation.custom, 1
    operator.inputs, operator.outputs = operation.inputs, [1]
    operator.customOptions = None if operation.options is None else np.frombuffer(operation.options, np.uint8)
    graph.tensors, graph.operators, graph.inputs, graph.outputs = tensors, [operator], [0], [1]
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], [code]
    model.buffers = [schema.BufferT(), schema.BufferT()]
    model.buffers[1].data = None if weights is None else weights.view(np.uint8)
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _package(executables: list[bytes]) -> bytes:
    inner = flatbuffers.Builder(1024)
    parts = [inner.CreateByteVector(each) for each in executables]
    inner.StartVector(4, len(parts), 4)
    for part in reversed(parts):
        inner.PrependUOffsetTRelative(part)
    inner.Finish(_table(inner, 1, {0: inner.EndVector()}))
    builder = flatbuffers.Builder(1024)
    held = builder.CreateByteVector(bytes(inner.Output()))
    builder.StartObject(8)
    builder.PrependInt32Slot(0, 14, 0)
    builder.PrependUOffsetTRelativeSlot(1, held, 0)
    builder.Finish(builder.EndObject(), b"DWN1")
    return bytes(builder.Output())


def _executable(kind: int, parameters: bytes, instructions: int, layers: list[list[Layer]]) -> bytes:
    builder = flatbuffers.Builder(1024)
    chunk = _table(builder, 2, {0: builder.CreateByteVector(bytes(instructions))})
    written = [[], []] if kind == 1 else [[_layer(builder, *layer) for layer in side] for side in layers]
    chunks, inputs, outputs = _vector(builder, [chunk]), _vector(builder, written[0]), _vector(builder, written[1])
    held, chip = builder.CreateByteVector(parameters), builder.CreateString("beagle")
    builder.StartObject(17)
    for field, offset in {5: chunks, 6: held, 8: inputs, 9: outputs, 10: chip}.items():
        builder.PrependUOffsetTRelativeSlot(field, offset, 0)
    builder.PrependInt32Slot(3, 1, 0)
    builder.PrependInt16Slot(13, kind, 0)
    builder.PrependUint64Slot(14, TOKEN if kind else 0, 0)
    builder.Finish(builder.EndObject())
    return bytes(builder.Output())


def _layer(builder: flatbuffers.Builder, name: str, shape: list[int], scale: float, zero_point: int) -> int:
    text = builder.CreateString(name)
    builder.StartObject(2)
    builder.PrependInt32Slot(0, zero_point, 0)
    builder.PrependFloat32Slot(1, scale, 0)
    numerics = builder.EndObject()
    builder.StartObject(12)
    builder.PrependUOffsetTRelativeSlot(0, text, 0)
    for field, size in {2: shape[-3] if len(shape) > 2 else 1, 3: shape[-2] if len(shape) > 2 else 1, 4: shape[-1]}.items():
        builder.PrependInt32Slot(field, size, 0)
    builder.PrependUOffsetTRelativeSlot(5, numerics, 0)
    builder.PrependInt16Slot(6, UINT8, 0)
    return int(builder.EndObject())


def _vector(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())


def _table(builder: flatbuffers.Builder, fields: int, offsets: dict[int, int]) -> int:
    builder.StartObject(fields)
    for number, offset in offsets.items():
        builder.PrependUOffsetTRelativeSlot(number, offset, 0)
    return int(builder.EndObject())
