# SPDX-License-Identifier: Apache-2.0
"""The quantized layers of ONNX files: what pairs of QuantizeLinear and DequantizeLinear hold."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.selftest.quantized.layer import Layer, Opener

if TYPE_CHECKING:
    from numpy.typing import NDArray

OPERATIONS: Final = ("Conv", "Gemm", "MatMul")


def _opened(data: bytes) -> tuple[list[Layer], Callable[[], bytes]]:
    from onnx import ModelProto, numpy_helper

    model = ModelProto.FromString(data)
    # Copied: the arrays that numpy_helper returns are not the file's.
    arrays = {each.name: numpy_helper.to_array(each).copy() for each in model.graph.initializer}

    def closed() -> bytes:
        changed = False
        for each in model.graph.initializer:
            if (numpy_helper.to_array(each) != arrays[each.name]).any():
                each.CopyFrom(numpy_helper.from_array(arrays[each.name], each.name))
                changed = True
        return model.SerializeToString() if changed else data

    return _layers_in(model.graph, arrays), closed


def _layers_in(graph: Any, arrays: "dict[str, NDArray[Any]]") -> list[Layer]:
    makers = {name: node for node in graph.node for name in node.output}
    quantizing = {node.input[0]: node for node in graph.node if node.op_type == "QuantizeLinear"}
    found = []
    for node in (each for each in graph.node if each.op_type in OPERATIONS):
        weights, *biases = (makers.get(name) for name in node.input[1:])
        if weights is not None and weights.op_type == "DequantizeLinear" and weights.input[0] in arrays:
            _, scale, zero_point = quantizing[node.output[0]].input if node.output[0] in quantizing else (None, None, None)
            found.append(
                Layer(
                    weights=arrays[weights.input[0]],
                    scales=arrays[weights.input[1]].reshape(-1),
                    bias=arrays[biases[0].input[0]] if biases and biases[0] is not None else None,
                    output_scale=None if scale is None else arrays[scale].reshape(-1),
                    zero_point=None if zero_point is None else arrays[zero_point].reshape(-1),
                    channel_axis=next((each.i for each in weights.attribute if each.name == "axis"), 0),
                )
            )
    return found


OPENER: Final = Opener(frozenset({"onnx-int8"}), frozenset({"onnx-int8"}), _opened)
