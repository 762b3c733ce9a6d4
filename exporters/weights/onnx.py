# SPDX-License-Identifier: Apache-2.0
"""The floating-point constants of an .onnx file; those of nested graphs, and data in other files, are not read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edgeferry.exporters.weights.stored import Role, StoredWeight, as_float32

# The axes of the second input, the weights; a convolution's third input is its bias.
LAYOUTS: Final = {"Conv": "OIHW", "ConvTranspose": "IOHW", "Gemm": "IO", "MatMul": "IO"}
BIASED: Final = ("Conv", "ConvTranspose", "Gemm")
FLOAT_TYPES: Final = (1, 10, 11)


def stored_weights(path: Path) -> Iterator[StoredWeight]:
    """Yield each floating-point initializer or Constant of the main graph, and what it is used for."""
    from onnx import ModelProto, numpy_helper

    graph = ModelProto.FromString(path.read_bytes()).graph
    held = {each.name: each for each in graph.initializer}
    for node in graph.node:
        value = next((each.t for each in node.attribute if node.op_type == "Constant" and each.name == "value"), None)
        if value is not None:
            held[node.output[0]] = value
    uses = _uses(graph.node, held)
    for name, tensor in held.items():
        if tensor.data_type not in FLOAT_TYPES or tensor.data_location == tensor.EXTERNAL or not tensor.dims:
            continue
        role, axes, of = uses.get(name, ("other", "", None))
        values = numpy_helper.to_array(tensor)
        yield as_float32(name, values, role, axes if len(axes) == values.ndim else "", of)


def _uses(nodes: Any, held: dict[str, Any]) -> dict[str, tuple[Role, str, str | None]]:
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
