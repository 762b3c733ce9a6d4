# SPDX-License-Identifier: Apache-2.0
"""Reads a .tflite file: its graph as records, for the exporters and lint, and what inspect shows; a damaged file is refused."""

import mmap
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from edgeferry.exporters.readers.reader import Reader, first_bytes
from edgeferry.exporters.readers.record import AS_IS, Inspection, Weights, counted, weighed
from edgeferry.exporters.readers.tflite_graph import EDGETPU_OPERATION, NOTHING, FileOperation, FileTensor, Graph
from edgeferry.exporters.readers.tflite_metadata import labels_of, metadata_of_tflite
from edgeferry.exporters.readers.tflite_options import builtin_options
from edgeferry.exporters.readers.tflite_schema import tflite_schema
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from edgeferry.exporters.weights.stored import StoredWeight

IDENTIFIER: Final = b"TFL3"
# What reading past the end of a flatbuffer raises in Python, and what its values raise where they make no sense.
DAMAGE: Final = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
# TF Lite's own kernels stop at 8.
HIGHEST_RANK: Final = 16
# Entries that a file may make us read for each of its bytes; parts are not shared, so 1 would do.
READS_PER_BYTE: Final = 2
# The name of the compiled operation as a flatbuffer holds a string: its length, its bytes, a zero.
COMPILED_MARK: Final = len(EDGETPU_OPERATION).to_bytes(4, "little") + EDGETPU_OPERATION.encode() + b"\0"

Value = TypeVar("Value")


@dataclass(frozen=True)
class TfliteFacts:
    """Of a TF Lite file: ``metadata`` are names of entries, ``labels`` how many its archive holds (None: it holds none)."""

    description: str
    metadata: tuple[str, ...]
    labels: int | None
    tensor_types: dict[str, int]


def read_graph(path: Path) -> Graph:
    """Return what a .tflite file holds.

    Raises:
        EdgeError: there is no such file, it is not a TF Lite file, or it is truncated or damaged.
    """
    try:
        model = path.read_bytes()
    except FileNotFoundError:
        raise EdgeError("EF-file-missing", f"{path}: no such file; expected a .tflite file") from None
    except OSError as error:
        raise EdgeError("EF-file-unreadable", f"{path} cannot be read: {error.strerror}") from None
    if model[4:8] != IDENTIFIER:
        raise EdgeError("EF-file-kind", f"{path} is not a TF Lite file; expected {IDENTIFIER.decode()} at its fifth byte")
    try:
        return _Parser(model).graph()
    except DAMAGE:
        raise EdgeError(
            "EF-file-damaged",
            f"{path} is truncated or damaged: its offsets leave its {len(model)} bytes; export or copy it again",
        ) from None


def read_tflite(path: Path) -> Inspection:
    """Return what inspect shows of a .tflite file.

    Raises:
        EdgeError: it is damaged.
    """
    graph = read_graph(path)
    return Inspection(
        kind="tflite",
        bytes=path.stat().st_size,
        operations=counted((each.custom or each.name, each.version) for each in graph.operations),
        inputs=tuple(map(declared, graph.inputs)),
        outputs=tuple(map(declared, graph.outputs)),
        weights=weights_of(graph),
        facts=TfliteFacts(
            description=graph.description,
            metadata=graph.metadata,
            labels=count_of_labels(path),
            tensor_types=dict(Counter(tensor.dtype for each in graph.operations for tensor in each.outputs).most_common()),
        ),
    )


def declared(tensor: FileTensor) -> Tensor:
    """Return a graph's tensor as a manifest declares it; a dynamic size is None."""
    signature = tensor.signature if len(tensor.signature) == len(tensor.shape) else tensor.shape
    shape = tuple(None if size < 0 else size for size in signature)
    return Tensor(tensor.name, shape, tensor.dtype, tensor.scale, tensor.zero_point)


def weights_of(graph: Graph) -> tuple[Weights, ...]:
    """Return the constants that operations use, summed by type and by how they are stored."""
    tensors = {
        tensor.buffer: tensor
        for operation in graph.operations
        for tensor in operation.inputs
        if tensor is not None and tensor.constant_bytes
    }
    stored = (AS_IS, "per-tensor", "per-channel")
    return weighed((tensor.dtype, stored[min(tensor.scales, 2)], tensor.constant_bytes) for tensor in tensors.values())


def count_of_labels(path: Path) -> int | None:
    """Return how many labels the archive behind the model holds; None where there is none, or it is damaged."""
    labels = labels_of(path)
    return None if labels is None else len(labels)


def is_tflite(path: Path) -> bool:
    """Return whether a file begins as a .tflite file does."""
    return first_bytes(path)[4:] == IDENTIFIER


def names_compiled_operation(path: Path) -> bool:
    """Return whether a .tflite file names the operation that the Edge TPU compiler leaves."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return data.find(COMPILED_MARK) >= 0


def _matches(path: Path) -> bool:
    return is_tflite(path) and not names_compiled_operation(path)


class _Parser:
    """Parses one file, and no more entries than a file of its size can hold."""

    def __init__(self, model: bytes) -> None:
        self._size = len(model)
        self._left = READS_PER_BYTE * len(model)
        self._root = tflite_schema().Model.GetRootAsModel(model, 0)

    def graph(self) -> Graph:
        root = self._root
        buffers = [self._constant(root.Buffers(at)) for at in self._each(root.BuffersLength())] or [(0, NOTHING)]
        graphs = [root.Subgraphs(at) for at in self._each(root.SubgraphsLength())]
        tensors = [self._tensors(graph, buffers) for graph in graphs]
        operations = [self._operations(graph, known) for graph, known in zip(graphs, tensors, strict=True)]
        if not operations[0]:
            raise ValueError("no operations")
        used = {
            graph.Tensors(number).Buffer()
            for graph in graphs
            for operator in map(graph.Operators, self._each(graph.OperatorsLength()))
            for number in self._numbers(operator.Inputs, operator.InputsLength())
            if number >= 0
        }
        return Graph(
            operations=tuple(operation for group in operations for operation in group),
            first=len(operations[0]),
            inputs=tuple(_at(tensors[0], number) for number in self._numbers(graphs[0].Inputs, graphs[0].InputsLength())),
            parameter_bytes=sum(_at(buffers, number)[0] for number in used),
            outputs=tuple(_at(tensors[0], number) for number in self._numbers(graphs[0].Outputs, graphs[0].OutputsLength())),
            description=self._text(root.Description()),
            metadata=tuple(self._text(root.Metadata(at).Name()) for at in self._each(root.MetadataLength())),
        )

    def _tensors(self, graph: Any, buffers: list[tuple[int, memoryview]]) -> list[FileTensor]:
        return [self._tensor(graph.Tensors(at), buffers) for at in self._each(graph.TensorsLength())]

    def _tensor(self, tensor: Any, buffers: list[tuple[int, memoryview]]) -> FileTensor:
        quantization = tensor.Quantization()
        scales = 0 if quantization is None else quantization.ScaleLength()
        zero_points = 0 if quantization is None else quantization.ZeroPointLength()
        constant_bytes, constant = _at(buffers, tensor.Buffer())
        shape = self._numbers(tensor.Shape, tensor.ShapeLength(), HIGHEST_RANK)
        return FileTensor(
            name=self._text(tensor.Name()),
            shape=shape,
            signature=self._numbers(tensor.ShapeSignature, tensor.ShapeSignatureLength(), HIGHEST_RANK) or shape,
            dtype=_names("TensorType").get(tensor.Type(), f"type number {tensor.Type()}").lower(),
            scales=scales,
            constant_bytes=constant_bytes,
            scale=float(quantization.Scale(0)) if scales else None,
            zero_point=int(quantization.ZeroPoint(0)) if zero_points else None,
            buffer=tensor.Buffer(),
            constant=constant,
            all_scales=memoryview(quantization.ScaleAsNumpy()) if scales else NOTHING,
            all_zero_points=memoryview(quantization.ZeroPointAsNumpy()) if zero_points else NOTHING,
            axis=int(quantization.QuantizedDimension()) if scales else 0,
        )

    def _operations(self, graph: Any, tensors: list[FileTensor]) -> list[FileOperation]:
        return [self._operation(graph.Operators(at), tensors) for at in self._each(graph.OperatorsLength())]

    def _operation(self, operator: Any, tensors: list[FileTensor]) -> FileOperation:
        if operator.OpcodeIndex() >= self._root.OperatorCodesLength():
            raise IndexError(operator.OpcodeIndex())
        code = self._root.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = _names("BuiltinOperator").get(number, f"operation number {number}")
        inputs = self._numbers(operator.Inputs, operator.InputsLength())
        outputs = self._numbers(operator.Outputs, operator.OutputsLength())
        return FileOperation(
            name=name,
            version=code.Version(),
            inputs=tuple(None if at == -1 else _at(tensors, at) for at in inputs),
            outputs=tuple(_at(tensors, at) for at in outputs),
            custom=self._text(code.CustomCode()) if name == "CUSTOM" else None,
            options=NOTHING if operator.CustomOptionsIsNone() else memoryview(operator.CustomOptionsAsNumpy()),
            builtin=builtin_options(operator, tflite_schema()),
        )

    def _constant(self, buffer: Any) -> tuple[int, memoryview]:
        # In a file above 2 GB the data is behind the flatbuffer.
        if buffer.Offset() > 1:
            if buffer.Offset() + buffer.Size() > self._size:
                raise ValueError("data behind the file")
            return int(buffer.Size()), NOTHING
        # No copy; raises where the data would end behind the end of the file.
        data = NOTHING if buffer.DataIsNone() else memoryview(buffer.DataAsNumpy())
        return data.nbytes, data

    def _numbers(self, entry: Callable[[int], int], length: int, most: int | None = None) -> tuple[int, ...]:
        if most is not None and length > most:
            raise ValueError(length)
        return tuple(int(entry(at)) for at in self._each(length))

    def _each(self, length: int) -> Iterator[int]:
        self._spend(length)
        return iter(range(length))

    def _text(self, text: bytes | None) -> str:
        self._spend(len(text or b""))
        return (text or b"").decode("utf-8", "replace")

    def _spend(self, entries: int) -> None:
        self._left -= entries
        if self._left < 0:
            raise ValueError("more entries than bytes")


def _at(values: list[Value], number: int) -> Value:
    if number < 0:
        raise IndexError(number)
    return values[number]


@cache
def _names(kind: str) -> dict[int, str]:
    return {number: name for name, number in vars(getattr(tflite_schema(), kind)).items() if isinstance(number, int)}


def _stored(path: Path) -> "Iterator[StoredWeight]":
    from edgeferry.exporters.weights.tflite import stored_weights

    return stored_weights(path)


READERS = (Reader("tflite", "TF Lite", _matches, read_tflite, _stored, metadata_of_tflite, frozenset({"labels", "mean", "std"})),)
