# SPDX-License-Identifier: Apache-2.0
"""Inference with pairs of QuantizeLinear and DequantizeLinear, as ONNX files hold them.

Layers, additions and products compute with integers. Between two of them a value has 8 bits, in a range from calibration; what
only other operations read stays in float32.
"""

from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.graph.fold import ADDITIONS, LINEAR, constant_node, copy_of, node_of, value_of
from edgeferry.exporters.graph.rebuild import Changes
from edgeferry.exporters.graph.simulation.activations import STEPS
from edgeferry.exporters.graph.simulation.activations import to_steps as values_to_steps
from edgeferry.exporters.graph.simulation.integers import observed_ranges, whole_biases
from edgeferry.exporters.graph.simulation.patterns import moved_by
from edgeferry.exporters.graph.simulation.rounding import MOST_STEPS, scales_of, to_steps
from edgeferry.exporters.graph.simulation.rounding import to_range as constant_to_range
from edgeferry.exporters.graph.simulation.structure import ACTIVATIONS, PASSING, SAME_SCALE, Structure, channel_axes

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    from edgeferry.exporters.graph.source import Source

    Ranges = dict[str, tuple[float, float]]

# What computes with integers, and what of it gives integers whoever reads them.
READING: Final = frozenset({*LINEAR, *ADDITIONS, "Mul", "Mean", "ConcatV2"})
GIVING: Final = READING - {"MatMul"}
# Steps of weights on either side of zero: with 64, two products of 8 bits fit into 16.
WEIGHT_STEPS: Final = {7: 64, 8: MOST_STEPS}


def paired_graph(graph: "GraphDef", source: "Source", *, weight_bits: int) -> "tuple[GraphDef, Changes]":
    """Return the graph with weights and biases rounded to integers, and what rounds its values to 8 bits."""
    structure = Structure(graph)
    ranges = _ranges(structure, source)
    rounded = copy_of(graph)
    for node in rounded.node:
        if (value := _constant(node, structure, ranges, weight_bits)) is not None:
            node.CopyFrom(constant_node(node.name, value))

    def leaving(node: "NodeDef", tensor: Any) -> Any:
        return values_to_steps(tensor, *_scale_and_zero(*ranges[node.name])) if node.name in ranges else tensor

    return rounded, Changes(leaving=leaving)


def _scale_and_zero(low: float, high: float) -> "tuple[np.float32, np.float32]":
    """Return the scale and the zero point of a range, to the last bit as a file holds them: pixels may be halves of a step."""
    import numpy as np

    least, most = np.float64(np.float32(low)), np.float64(np.float32(high))
    scale = np.float32((most - least) / STEPS)
    return scale, np.float32(np.rint(-least / scale) if scale > 0 else 0)


def _ranges(structure: Structure, source: "Source") -> "Ranges":
    moved = _moved(structure)
    kept = [node.name for node in structure.graph.node if structure.is_kept(node) and node.name not in moved]
    held = [name for name in kept if _is_integer(structure, structure.nodes[name], moved)]
    found = observed_ranges(structure, held, source.calibration, source.spec.preprocessing)
    for name in held:
        node = structure.nodes[name]
        if node.op in SAME_SCALE and name in found:
            found[name] = found.get(structure.maker(node.input[0]), found[name])
    return found


def _moved(structure: Structure) -> frozenset[str]:
    """Return the operations that are computed together with an addition: ONNX Runtime's tools merge one number per channel."""

    def is_merged(node: "NodeDef") -> bool:
        constants = [each for each in map(structure.nodes.__getitem__, map(node_of, node.input)) if each.op == "Const"]
        return any(value_of(each).ndim and value_of(each).size == value_of(each).shape[-1] > 1 for each in constants)

    return frozenset(name for node in structure.graph.node if is_merged(node) for name in moved_by(node, structure))


def _is_integer(structure: Structure, node: "NodeDef", moved: frozenset[str]) -> bool:
    """Return whether a value is held in integers: what computes it gives them, or something computes with them."""
    computing = _computing(structure, node, moved).op
    # What a softmax alone reads may hold a mask: values that no 8 bits reach.
    shown = {each.op for each in structure.readers[node.name]} != {"Softmax"} or computing in LINEAR
    return (shown and computing in GIVING) or any(each.op in READING for each in _final_readers(structure, node))


def _computing(structure: Structure, node: "NodeDef", moved: frozenset[str]) -> "NodeDef":
    """Return the operation that a value is computed by, of those that are computed together with it."""
    while node.op in (*ACTIVATIONS, "BiasAdd") or any(node_of(name) in moved for name in node.input):
        before = next(each for each in (structure.nodes[node_of(name)] for name in node.input) if each.op != "Const")
        if structure.is_kept(before) and before.name not in moved:
            break
        node = before
    return node


def _final_readers(structure: Structure, node: "NodeDef") -> "Iterator[NodeDef]":
    for reader in structure.readers[node.name]:
        if reader.op in PASSING or reader.op in SAME_SCALE:
            yield from _final_readers(structure, reader)
        else:
            yield reader


def _constant(node: "NodeDef", structure: Structure, ranges: "Ranges", weight_bits: int) -> "NDArray[np.float32] | None":
    """Return a constant as integers hold it, or None where it stays in float."""
    value = value_of(node) if node.op == "Const" else None
    reader = next(iter(structure.readers[node.name]), None)
    if value is None or reader is None or value.dtype != "float32":
        return None
    if reader.op in LINEAR:
        return to_steps(value, _scales(value, reader, weight_bits))
    linear = structure.nodes[node_of(reader.input[0])]
    weights = structure.weights(linear) if reader.op in ("BiasAdd", *ADDITIONS) else None
    if weights is None:
        return constant_to_range(value, 8, with_zero=True) if reader.op in READING else None
    return whole_biases(value, _scales(value_of(weights), linear, weight_bits), ranges.get(structure.maker(linear.input[0])))


def _scales(weights: "NDArray[np.float32]", linear: "NodeDef", weight_bits: int) -> "NDArray[np.float32]":
    """Return the scale of each channel: depthwise weights with one channel per input have 8 bits in any case."""
    is_whole = linear.op == "DepthwiseConv2dNative" and weights.shape[3] == 1
    return scales_of(weights, channel_axes(linear), MOST_STEPS if is_whole else WEIGHT_STEPS[weight_bits])
