# SPDX-License-Identifier: Apache-2.0
"""Full-integer inference as TF Lite specifies it: 8-bit values in ranges from calibration, per-channel weights, 32-bit biases.

Source: TensorFlow Lite's 8-bit quantization specification. Values stay float32 numbers on the integers' grid, on which float32
sums are as exact as they need to be.
"""

from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.graph.fold import ADDITIONS, LINEAR, constant_node, copy_of, node_of, value_of
from edgeferry.exporters.graph.pixel_range import black_and_white, pixel_range, scaled_inputs
from edgeferry.exporters.graph.rebuild import Changes, rebuild, run
from edgeferry.exporters.graph.simulation.activations import STEPS, to_range
from edgeferry.exporters.graph.simulation.patterns import computed_within
from edgeferry.exporters.graph.simulation.rounding import scales_of, to_steps
from edgeferry.exporters.graph.simulation.rounding import to_range as constant_to_range
from edgeferry.exporters.graph.simulation.structure import PASSING, SAME_SCALE, Structure, channel_axes
from edgeferry.exporters.graph.softmax_range import unmasked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    from edgeferry.exporters.graph.source import Source
    from edgeferry.models.preprocessing import Preprocessing

    Ranges = dict[str, tuple[float, float]]

# Results whose range TF Lite fixes, whatever calibration shows.
FIXED: Final = {"Softmax": (0.0, 255 / 256), "Sigmoid": (0.0, 255 / 256), "Tanh": (-1.0, 127 / 128)}
# Operations that scale, shift or move the values of one operand, where the others are constants.
SCALING: Final = frozenset({*ADDITIONS, "BiasAdd", "Sub", "Mul", *PASSING})


def integer_graph(graph: "GraphDef", source: "Source", *, dense_per_channel: bool) -> "tuple[GraphDef, Changes]":
    """Return the graph with weights and biases rounded to integers, and what rounds its values to 8 bits."""
    structure = Structure(graph)
    within = computed_within(structure)
    kept = [node.name for node in structure.graph.node if structure.is_kept(node) and node.name not in within]
    ranges = _constrained(observed_ranges(structure, kept, source.calibration, source.spec.preprocessing), structure)
    rounded, exact = copy_of(graph), _exact_constants(structure)
    for node in rounded.node:
        if node.name in exact:
            continue
        if (value := _constant(node, structure, ranges, dense_per_channel=dense_per_channel)) is not None:
            node.CopyFrom(constant_node(node.name, value))

    def leaving(node: "NodeDef", tensor: Any) -> Any:
        return to_range(tensor, *ranges[node.name]) if node.name in ranges else tensor

    return rounded, Changes(leaving=leaving)


def _exact_constants(structure: Structure) -> set[str]:
    """Return the constants that are not 8-bit values: those of operations computed as one, and those that move into a bias."""
    within = computed_within(structure)
    moved = {each.name for name in within if structure.nodes[name].op in (*LINEAR, "BiasAdd") for each in structure.readers[name]}
    inner = {name for name in within if structure.nodes[name].op not in (*LINEAR, "BiasAdd")}
    return {node_of(name) for each in moved | inner for name in structure.nodes[each].input}


def observed_ranges(structure: Structure, kept: "Iterable[str]", pixels: "NDArray[np.uint8]", how: "Preprocessing") -> "Ranges":
    """Return the least and the greatest of some values over all images, zero included, and of the input what there can be."""
    import tensorflow as tf

    rebuilt = rebuild(structure.graph, Changes())
    floats = {
        name: rebuilt.results[name] for name in kept if name in rebuilt.results and rebuilt.results[name].dtype == "float32"
    }
    with rebuilt.graph.as_default():
        limits = {name: (tf.reduce_min(_seen_by(structure, name, each)), tf.reduce_max(each)) for name, each in floats.items()}
    found = _seen(run(rebuilt, limits, pixels, how))
    ends = {name: limits[name] for name in _scaled(structure) & set(limits)}
    of_pixels = _seen(run(rebuilt, ends, black_and_white(pixels.shape[1:]), how))
    return found | {name: pixel_range(*each) for name, each in of_pixels.items()}


def _seen_by(structure: Structure, name: str, values: Any) -> Any:
    """Return a node's values as far as the nodes show them that read it: a softmax shows nothing of what is masked."""
    import tensorflow as tf

    if not values.shape.rank or values.shape[-1] is None or {node.op for node in structure.readers[name]} != {"Softmax"}:
        return values
    return unmasked(values, tf.reduce_max(values, axis=-1, keepdims=True), tf.where)


def _seen(batches: "Iterable[Mapping[str, tuple[float, float]]]") -> "Ranges":
    """Return the least and the greatest of all, zero included."""
    found: Ranges = {}
    for batch in batches:
        for name, (low, high) in batch.items():
            least, greatest = found.get(name, (0.0, 0.0))
            found[name] = (min(least, float(low)), max(greatest, float(high)))
    return found


def _scaled(structure: Structure) -> set[str]:
    """Return the nodes whose result is the input, or the input scaled and shifted."""
    nodes = structure.graph.node
    operations = [(node.name, [node_of(name) for name in node.input]) for node in nodes if node.op in SCALING]
    constants = frozenset(node.name for node in nodes if node.op == "Const")
    return scaled_inputs([node.name for node in nodes if node.op == "Placeholder"], operations, constants)


def _constrained(ranges: "Ranges", structure: Structure) -> "Ranges":
    """Return the ranges as TF Lite has them: some fixed, some of an operation's input, some of the concatenation they end in."""
    found = dict(ranges)
    for node in structure.graph.node:
        if node.name not in found:
            continue
        if node.op in FIXED:
            found[node.name] = FIXED[node.op]
        elif node.op in SAME_SCALE:
            found[node.name] = found.get(structure.maker(node.input[0]), found[node.name])
    # The last first: a concatenation may be joined to more.
    for node in reversed(structure.graph.node):
        if node.op == "ConcatV2" and node.name in found:
            parts = [structure.maker(name) for name in node.input[:-1]]
            found |= {part: found[node.name] for part in parts if part in found and structure.nodes[part].op not in FIXED}
    return found


def _constant(
    node: "NodeDef", structure: Structure, ranges: "Ranges", *, dense_per_channel: bool
) -> "NDArray[np.float32] | None":
    """Return a constant as integers hold it, or None where it stays as it is: no constant, or a size and no number."""
    value = value_of(node) if node.op == "Const" else None
    reader = next(iter(structure.readers[node.name]), None)
    if value is None or reader is None or value.dtype != "float32":
        return None
    if reader.op in LINEAR:
        return to_steps(value, _scales(value, reader, dense_per_channel=dense_per_channel))
    linear = structure.nodes[node_of(reader.input[0])]
    weights = structure.weights(linear) if reader.op == "BiasAdd" else None
    if weights is None:
        return constant_to_range(value, 8, with_zero=True)
    scales = _scales(value_of(weights), linear, dense_per_channel=dense_per_channel)
    return whole_biases(value, scales, ranges.get(structure.maker(linear.input[0])))


def _scales(weights: "NDArray[np.float32]", linear: "NodeDef", *, dense_per_channel: bool) -> "NDArray[np.float32]":
    per_tensor = linear.op == "MatMul" and not dense_per_channel
    return scales_of(weights, () if per_tensor else channel_axes(linear))


def whole_biases(
    bias: "NDArray[np.float32]", scales: "NDArray[np.float32]", of_input: tuple[float, float] | None
) -> "NDArray[np.float32]":
    """Return a bias in whole multiples of the scale of the input times that of the weights: 32 bits, so it is hardly changed."""
    import numpy as np

    if of_input is None or of_input[0] == of_input[1]:
        return bias
    step = scales.reshape(-1).astype(np.float64) * (of_input[1] - of_input[0]) / STEPS
    rounded: NDArray[np.float32] = (np.rint(bias / step) * step).astype(np.float32)
    return rounded
