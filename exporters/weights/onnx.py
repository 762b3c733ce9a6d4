# SPDX-License-Identifier: Apache-2.0
"""The constants of an .onnx file that are numbers; those of nested graphs, and data in other files, are not read."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.weights.stored import Role, StoredWeight, as_float32

if TYPE_CHECKING:
    from numpy.typing import NDArray

# The axes of the second input, the weights; a convolution's third input is its bias.
LAYOUTS: Final = {"Conv": "OIHW", "ConvTranspose": "IOHW", "Gemm": "IO", "MatMul": "IO"}
BIASED: Final = ("Conv", "ConvTranspose", "Gemm")
FLOAT_TYPES: Final = (1, 10, 11)
PAIRED: Final = ("QuantizeLinear", "DequantizeLinear")


def stored_weights(path: Path) -> Iterator[StoredWeight]:
    """Yield each floating-point initializer or Constant of the main graph, and each one in integers that is dequantized, once."""
    from onnx import ModelProto, numpy_helper

    graph = ModelProto.FromString(path.read_bytes()).graph
    held = {each.name: each for each in graph.initializer if each.data_location != each.EXTERNAL}
    for node in graph.node:
        value = next((each.t for each in node.attribute if node.op_type == "Constant" and each.name == "value"), None)
        if value is not None:
            held[node.output[0]] = value
    dequantized = {node.output[0]: node for node in graph.node if node.op_type == "DequantizeLinear" and node.input[0] in held}
    steps = {name for node in graph.node if node.op_type in PAIRED for name in node.input[1:]}
    uses = _uses(graph.node, held.keys() | dequantized.keys())
    for name, tensor in held.items():
        if tensor.data_type in FLOAT_TYPES and tensor.dims and name not in steps:
            role, axes, of = uses.get(name, ("other", "", None))
            values = numpy_helper.to_array(tensor)
            yield as_float32(name, values, role, axes if len(axes) == values.ndim else "", of)
    for name, node in dequantized.items():
        numbers, *others = (numpy_helper.to_array(held[each]) for each in node.input)
        if numbers.ndim:
            yield _from_integers(name, numbers, others, _axis(node), uses.get(name, ("other", "", None)))


def _axis(node: Any) -> int:
    return next((int(each.i) for each in node.attribute if each.name == "axis"), 1)


def _from_integers(
    name: str, numbers: "NDArray[Any]", others: "list[NDArray[Any]]", axis: int, use: tuple[Role, str, str | None]
) -> StoredWeight:
    import numpy as np

    shape = [1] * numbers.ndim
    if others[0].size > 1:
        shape[axis] = others[0].size
    scale = others[0].astype(np.float32).reshape(shape)
    zero = others[1].astype(np.float64).reshape(shape) if len(others) > 1 else np.zeros(shape)
    ends = np.iinfo(numbers.dtype)
    limits = (((end - zero) * scale).astype(np.float32) for end in (ends.min, ends.max))
    values = ((numbers - zero) * scale).astype(np.float32)
    role, axes, of = use
    return StoredWeight(name, values, scale, role, axes if len(axes) == numbers.ndim else "", of, (next(limits), next(limits)))


def _uses(nodes: Any, held: AbstractSet[str]) -> dict[str, tuple[Role, str, str | None]]:
    uses: dict[str, tuple[Role, str, str | None]] = {}
    weights_of: dict[str, str] = {}
    for node in nodes:
        inputs, operation = list(node.input), node.op_type
        if operation in LAYOUTS and len(inputs) > 1 and inputs[1] in held:
            transposed = any(each.name == "transB" and each.i for each in node.attribute)
            uses[inputs[1]] = ("weight", "OI" if transposed else LAYOUTS[operation], None)
            if operation in BIASED and len(inputs) > 2:
                uses[inputs[2]] = ("bias", "", inputs[1])
            else:
                weights_of[node.output[0]] = inputs[1]
        elif operation == "Add" and len(inputs) == 2:
            for computed, other in (inputs, inputs[::-1]):
                if computed in weights_of and other in held:
                    uses.setdefault(other, ("bias", "", weights_of[computed]))
    return uses
