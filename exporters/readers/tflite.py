# SPDX-License-Identifier: Apache-2.0
"""A .tflite file's operations and tensors as plain records; a file that is damaged is refused, whatever stands in it."""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any, Final, TypeVar

from edgeferry.exporters.readers.tflite_options import builtin_options
from edgeferry.models.system.errors import EdgeError

IDENTIFIER: Final = b"TFL3"
# What reading past the end of a flatbuffer raises in Python, and what its values raise where they make no sense.
DAMAGE: Final = (struct.error, IndexError, ValueError, TypeError, AttributeError, OverflowError, MemoryError)
# TF Lite's own kernels stop at 8.
HIGHEST_RANK: Final = 16
# Entries that a file may make us read for each of its bytes; parts are not shared, so 1 would do.
READS_PER_BYTE: Final = 2

# How Keras' weights end in a converted file, and those of one group in groups.py.
KERAS_WEIGHTS: Final = re.compile(r"/(convolution|depthwise|MatMul|group_\d+)$")
# Scopes that Keras opens within a layer.
INNER_SCOPES: Final = ("batchnorm", "moments", "separable_conv2d")
NOTHING: Final = memoryview(b"")

Value = TypeVar("Value")


@dataclass(frozen=True)
class Tensor:
    """One tensor; ``scales`` is how many it has (0 of a float), ``constant_bytes`` how many the file holds of it.

    ``scale`` and ``zero_point`` are the first of each; ``constant`` is those bytes themselves, and tensors of one ``buffer``
    share them. A constant behind the flatbuffer, as of files above 2 GB, is counted, not shown.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    scales: int
    constant_bytes: int
    scale: float | None = None
    zero_point: int | None = None
    buffer: int = 0
    constant: memoryview = field(default=NOTHING, compare=False, repr=False)

    @property
    def is_float(self) -> bool:
        """Say whether it holds floating-point numbers."""
        return self.dtype in {"float16", "float32", "float64", "bfloat16"}


@dataclass(frozen=True)
class Operation:
    """One operation; an optional input that is left out is None.

    ``custom`` is the name of one that is not TF Lite's own, ``options`` what such a one is told, in its own form. ``builtin`` are
    the options of TF Lite's own, as tflite_options.py reads them.
    """

    name: str
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    custom: str | None
    options: memoryview = field(default=NOTHING, compare=False, repr=False)
    builtin: Mapping[str, int] = field(default_factory=dict, compare=False)

    @property
    def layer(self) -> str:
        """Return the Keras layer it comes from where its tensors tell, else its answer's name.

        Weights keep their layer's name where the answer has taken that of the batch normalisation or activation after it.
        """
        weights = self.inputs[1] if len(self.inputs) > 1 else None
        if weights is not None and weights.constant_bytes and KERAS_WEIGHTS.search(weights.name):
            return layer_of(weights.name)
        return layer_of(self.outputs[0].name) if self.outputs else ""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Return its inputs and outputs."""
        return (*(each for each in self.inputs if each is not None), *self.outputs)

    @property
    def is_grouped_convolution(self) -> bool:
        """Say whether it is a CONV_2D whose filter takes fewer channels than its input has."""
        image, weights = (*self.inputs[:2], None, None)[:2]
        if self.name != "CONV_2D" or image is None or weights is None or len(image.shape) != 4 or len(weights.shape) != 4:
            return False
        return image.shape[3] != weights.shape[3]

    @property
    def is_per_channel_dense(self) -> bool:
        """Say whether it is a FULLY_CONNECTED whose weights have more than one scale."""
        weights = self.inputs[1] if self.name == "FULLY_CONNECTED" and len(self.inputs) > 1 else None
        return weights is not None and weights.scales > 1


@dataclass(frozen=True)
class Graph:
    """The operations of a file in the order they run, those of the first graph before those it calls.

    ``first`` is how many stand in the first graph; ``inputs`` and ``outputs`` are its own. ``parameter_bytes`` is what the file
    holds of constants that operations use, each counted once. ``metadata`` are the names of what else it holds.
    """

    operations: tuple[Operation, ...]
    first: int
    inputs: tuple[Tensor, ...]
    parameter_bytes: int
    outputs: tuple[Tensor, ...] = ()
    description: str = ""
    metadata: tuple[str, ...] = ()


def layer_of(tensor: str) -> str:
    """Return the layer in a tensor's name: 'conv2d_1' of 'digits_1/conv2d_1/Relu;digits_1/conv2d_1/BiasAdd'."""
    parts = [part for part in tensor.split(";", 1)[0].split("/") if part and not part.startswith("StatefulPartitionedCall")]
    # A TensorFlow function inside a layer begins with a capital ('Gelu'); Keras' own names do not.
    layers = [part for part in parts[1:-1] if part[0].islower() and part not in INNER_SCOPES]
    return layers[-1] if layers else parts[-2] if len(parts) > 1 else tensor


def read_graph(path: Path) -> Graph:
    """Return what a .tflite file holds.

    Raises:
        EdgeError: there is no such file, it is not TF Lite's, or it is cut short or damaged.
    """
    try:
        model = path.read_bytes()
    except FileNotFoundError:
        raise EdgeError(f"{path}: no such file; expected a .tflite file") from None
    except OSError as error:
        raise EdgeError(f"{path} cannot be read: {error.strerror}") from None
    if model[4:8] != IDENTIFIER:
        raise EdgeError(f"{path} is not a TF Lite file: {IDENTIFIER.decode()} does not stand at its fifth byte")
    try:
        return _Reader(model).graph()
    except DAMAGE:
        raise EdgeError(
            f"{path} is cut short or damaged: what it says of itself does not fit its {len(model)} bytes; export or copy it anew"
        ) from None


class _Reader:
    """Reads one file, and no more entries than a file of its size can hold."""

    def __init__(self, model: bytes) -> None:
        self._size = len(model)
        self._left = READS_PER_BYTE * len(model)
        self._root = _schema().Model.GetRootAsModel(model, 0)

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

    def _tensors(self, graph: Any, buffers: list[tuple[int, memoryview]]) -> list[Tensor]:
        return [self._tensor(graph.Tensors(at), buffers) for at in self._each(graph.TensorsLength())]

    def _tensor(self, tensor: Any, buffers: list[tuple[int, memoryview]]) -> Tensor:
        quantization = tensor.Quantization()
        scales = 0 if quantization is None else quantization.ScaleLength()
        zero_points = 0 if quantization is None else quantization.ZeroPointLength()
        constant_bytes, constant = _at(buffers, tensor.Buffer())
        shape = self._numbers(tensor.Shape, tensor.ShapeLength(), HIGHEST_RANK)
        return Tensor(
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
        )

    def _operations(self, graph: Any, tensors: list[Tensor]) -> list[Operation]:
        return [self._operation(graph.Operators(at), tensors) for at in self._each(graph.OperatorsLength())]

    def _operation(self, operator: Any, tensors: list[Tensor]) -> Operation:
        if operator.OpcodeIndex() >= self._root.OperatorCodesLength():
            raise IndexError(operator.OpcodeIndex())
        code = self._root.OperatorCodes(operator.OpcodeIndex())
        number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
        name = _names("BuiltinOperator").get(number, f"operation number {number}")
        inputs = self._numbers(operator.Inputs, operator.InputsLength())
        outputs = self._numbers(operator.Outputs, operator.OutputsLength())
        return Operation(
            name=name,
            version=code.Version(),
            inputs=tuple(None if at == -1 else _at(tensors, at) for at in inputs),
            outputs=tuple(_at(tensors, at) for at in outputs),
            custom=self._text(code.CustomCode()) if name == "CUSTOM" else None,
            options=NOTHING if operator.CustomOptionsIsNone() else memoryview(operator.CustomOptionsAsNumpy()),
            builtin=builtin_options(operator, _schema()),
        )

    def _constant(self, buffer: Any) -> tuple[int, memoryview]:
        # Of a file above 2 GB the data stands behind the flatbuffer.
        if buffer.Offset() > 1:
            if buffer.Offset() + buffer.Size() > self._size:
                raise ValueError("data behind the file")
            return int(buffer.Size()), NOTHING
        # No copy; raises where the data would end behind the file.
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
    return {number: name for name, number in vars(getattr(_schema(), kind)).items() if isinstance(number, int)}


@cache
def _schema() -> Any:
    """Return TensorFlow's reader of .tflite files without the rest of it, which takes seconds to import and prints."""
    tensorflow = find_spec("tensorflow")
    if tensorflow is None or tensorflow.origin is None:
        raise EdgeError("TensorFlow is not installed, which holds the schema of .tflite files: `make install` installs it")
    place = Path(tensorflow.origin).parent / "lite" / "python" / "schema_py_generated.py"
    spec = spec_from_file_location("tflite_schema", place)
    if spec is None or spec.loader is None or not place.is_file():
        raise EdgeError(f"{place} is not there; expected in TensorFlow 2.21: `make install` installs it")
    schema = module_from_spec(spec)
    spec.loader.exec_module(schema)
    return schema
