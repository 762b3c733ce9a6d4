# SPDX-License-Identifier: Apache-2.0
"""The quantized layers of TF Lite files, mapped to the file's bytes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.selftest.quantized.layer import Layer, Opener
from edgeferry.exporters.readers.tflite_schema import tflite_schema

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPERATIONS: Final = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def layers_in(model: bytearray) -> list[Layer]:
    """Return the quantized linear operations of a .tflite file, from the input to the output; changing them changes the file."""
    schema = tflite_schema()
    tree = schema.Model.GetRootAs(model, 0)
    wanted = {getattr(schema.BuiltinOperator, name) for name in OPERATIONS}
    graph = tree.Subgraphs(0)
    found = []
    for at in range(graph.OperatorsLength()):
        operator = graph.Operators(at)
        if tree.OperatorCodes(operator.OpcodeIndex()).BuiltinCode() in wanted:
            # A bias that is left out has the number -1.
            inputs: list[Any] = [graph.Tensors(each) if each >= 0 else None for each in operator.InputsAsNumpy()]
            output = graph.Tensors(operator.Outputs(0))
            if inputs[1].Type() == schema.TensorType.INT8 and inputs[1].Quantization().ScaleLength():
                found.append(_layer(tree, inputs, output, schema))
    return found


def _layer(tree: Any, inputs: list[Any], output: Any, schema: Any) -> Layer:
    weights, bias = inputs[1], inputs[2] if len(inputs) > 2 else None
    quantized = output.Quantization() is not None and output.Quantization().ScaleLength() == 1
    integer_bias = bias is not None and bias.Type() == schema.TensorType.INT32
    return Layer(
        _data(tree, weights, "int8"),
        weights.Quantization().ScaleAsNumpy(),
        _data(tree, bias, "<i4").reshape(-1) if integer_bias else None,
        output.Quantization().ScaleAsNumpy() if quantized else None,
        output.Quantization().ZeroPointAsNumpy() if quantized else None,
        weights.Quantization().QuantizedDimension(),
    )


def _data(tree: Any, tensor: Any, kind: str) -> "NDArray[Any]":
    data: NDArray[Any] = tree.Buffers(tensor.Buffer()).DataAsNumpy().view(kind).reshape(tensor.ShapeAsNumpy())
    return data


def _opened(data: bytes) -> tuple[list[Layer], Callable[[], bytes]]:
    model = bytearray(data)
    return layers_in(model), lambda: bytes(model)


OPENER: Final = Opener(frozenset({"tflite-int8", "tflite-dynamic"}), frozenset({"tflite-int8"}), _opened)
