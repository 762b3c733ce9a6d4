# SPDX-License-Identifier: Apache-2.0
"""The probabilities that a classifier would give in a precision, for images."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.graph.fold import LINEAR, constant_node, copy_of, fold_batchnorm, node_of, reachable, value_of
from edgeferry.exporters.graph.groups import split_groups
from edgeferry.exporters.graph.rebuild import Changes, rebuild, run
from edgeferry.exporters.graph.rewrites.exponentials import SPELLED
from edgeferry.exporters.graph.rewritten import EVERYWHERE, TFLITE_INTEGERS, rewritten
from edgeferry.exporters.graph.simulation import activations
from edgeferry.exporters.graph.simulation.integers import integer_graph
from edgeferry.exporters.graph.simulation.pairs import paired_graph
from edgeferry.exporters.graph.simulation.rounding import scales_of, to_float16, to_palette, to_range, to_steps
from edgeferry.exporters.graph.simulation.structure import Structure, channel_axes
from edgeferry.exporters.graph.source import Source, without_loops
from edgeferry.models.decision import probabilities_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    Simulated = tuple[GraphDef, Changes]
    # Returns a constant as it is stored: its values, and the operation that reads it.
    Stored = Callable[[NDArray[np.float32], NodeDef], NDArray[np.float32]]

# Sums of float32 in another order differ in the last bits; rounding each result to 22 of 24 bits moves it as much.
FLOAT32_BITS: Final = 22
# Weights of fewer numbers stay in float: the least that TF Lite's dynamic range quantization takes, and more than Core ML's.
LEAST_DYNAMIC: Final = 1024
MORE_THAN: Final = 1024
# How many palettes are drawn; odd, so that one is in the middle, which so many images are enough to find.
DRAWS: Final = 5
ENOUGH_TO_RANK: Final = 64


def simulate(source: Source, precision: str, pixels: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    """Return probabilities, [count, classes], as a precision would give them for pixels [count, height, width, channels].

    Raises:
        EdgeError: the precision takes ranges from calibration images, and there are none.
        KeyError: there is no such precision.
    """
    import numpy as np

    graph = written_for(source, precision)
    if precision not in PALETTES:
        return _probabilities(SIMULATIONS[precision](graph, source), source, pixels)
    # Each palette is a draw, and the difference it makes varies by a factor of two: one in the middle is kept.
    some = pixels[:ENOUGH_TO_RANK]
    exact = _probabilities(_float32(graph, source), source, some)
    drawn = [_palette(PALETTES[precision], seed)(graph, source) for seed in range(DRAWS)]
    differences = [float(np.abs(_probabilities(each, source, some) - exact).max(axis=1).mean()) for each in drawn]
    return _probabilities(drawn[differences.index(sorted(differences)[DRAWS // 2])], source, pixels)


def written_for(source: Source, precision: str) -> "GraphDef":
    """Return the graph for any batch size that a precision is simulated on."""
    families = REWRITES.get(precision, ())
    return _simplified(rewritten(without_loops(source), *families) if families else without_loops(source))


def simulated(source: Source, precision: str, graph: "GraphDef") -> "Simulated":
    """Return a graph of ``written_for`` with its constants as a precision stores them, and what rounds its values.

    A palette is one of several that may be drawn: what it rounds to is not what a file holds.
    """
    if precision in PALETTES:
        return _palette(PALETTES[precision], 0)(graph, source)
    return SIMULATIONS[precision](graph, source)


def _probabilities(simulated: "Simulated", source: Source, pixels: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    import numpy as np

    graph, changes = simulated
    rebuilt = rebuild(graph, changes)
    batches = run(rebuilt, rebuilt.results[source.output], pixels, source.spec.preprocessing)
    scores = np.concatenate(list(batches)).astype(np.float32)
    return probabilities_of(scores, source.output)


def _simplified(source: Source) -> "GraphDef":
    """Return the graph for any batch size as converters simplify it: without grouped convolutions and batch normalization."""
    graph = source.graph_of(None)
    folded = graph if source.folding in {"folded", "nothing to fold"} else fold_batchnorm(graph, source.output)[0]
    split = split_groups(folded, source.output)[0]
    _multiply_by_reciprocals(split)
    return reachable(split, source.output)


def _multiply_by_reciprocals(graph: "GraphDef") -> None:
    """Replace divisions by constants, as every converter does: a sixth is not a float16 number, six is."""
    import numpy as np

    nodes = {node.name: node for node in graph.node}
    for node in [each for each in graph.node if each.op == "RealDiv" and nodes[node_of(each.input[1])].op == "Const"]:
        divisor: NDArray[np.float32] = value_of(nodes[node_of(node.input[1])])
        if divisor.dtype == "float32" and divisor.all():
            graph.node.append(constant_node(f"{node.name}/reciprocal", np.reciprocal(divisor)))
            node.op, node.input[1] = "Mul", graph.node[-1].name


def _float32(graph: "GraphDef", _source: Source) -> "Simulated":
    return graph, _in_float32(graph)


def _in_float32(graph: "GraphDef") -> Changes:
    return _rounding_results(graph, lambda values: activations.to_bits(values, FLOAT32_BITS))


def _float16(graph: "GraphDef", _source: Source) -> "Simulated":
    return _stored(graph, _as_float16), _rounding_results(graph, activations.to_float16)


def _float16_weights(graph: "GraphDef", _source: Source) -> "Simulated":
    return _with_weights(graph, _as_float16)


def _uint8_weights(graph: "GraphDef", _source: Source) -> "Simulated":
    def stored(values: "NDArray[np.float32]", reader: "NodeDef") -> "NDArray[np.float32]":
        in_float16 = values.ndim < 2 or reader.op == "DepthwiseConv2dNative"
        return to_float16(values) if in_float16 else to_range(values, 8)

    return _with_weights(graph, stored)


def _uint16_weights(graph: "GraphDef", _source: Source) -> "Simulated":
    return _with_weights(graph, lambda values, _: to_range(values, 16))


def _with_weights(graph: "GraphDef", stored: "Stored") -> "Simulated":
    """Return the simulation of a format that stores weights in fewer bits; next to that, rounding in float32 changes nothing."""
    return _stored(graph, stored), Changes()


def _compressed(compress: "Stored") -> "Callable[[GraphDef, Source], Simulated]":
    """Return the simulation of Core ML's compressed weights: large ones compressed, everything else in float16."""

    def simulated(graph: "GraphDef", _source: Source) -> "Simulated":
        def stored(values: "NDArray[np.float32]", reader: "NodeDef") -> "NDArray[np.float32]":
            halved = to_float16(values)
            return to_float16(compress(halved, reader)) if values.ndim > 1 and values.size > MORE_THAN else halved

        return _stored(graph, stored), _rounding_results(graph, activations.to_float16)

    return simulated


def _per_channel(values: "NDArray[np.float32]", reader: "NodeDef") -> "NDArray[np.float32]":
    axes = channel_axes(reader) if reader.op in LINEAR else (0,)
    return to_steps(values, to_float16(scales_of(values, axes)))


def _palette(bits: int, seed: int) -> "Callable[[GraphDef, Source], Simulated]":
    return _compressed(lambda values, _: to_palette(values, bits, seed))


def _dynamic(graph: "GraphDef", _source: Source) -> "Simulated":
    structure = Structure(graph)
    hybrid = {
        node.name
        for node in graph.node
        if (weights := structure.weights(node)) is not None and value_of(weights).size >= LEAST_DYNAMIC
    }

    def stored(values: "NDArray[np.float32]", reader: "NodeDef") -> "NDArray[np.float32]":
        return to_steps(values, scales_of(values, channel_axes(reader))) if reader.name in hybrid else values

    def arriving(node: "NodeDef", tensor: Any) -> Any:
        is_weight = tensor.op.type == "Const"
        return activations.to_own_range(tensor) if node.name in hybrid and not is_weight else tensor

    return _stored(graph, stored), Changes(arriving=arriving)


def _as_float16(values: "NDArray[np.float32]", _reader: "NodeDef") -> "NDArray[np.float32]":
    return to_float16(values)


def _rounding_results(graph: "GraphDef", rounded: Callable[[Any], Any]) -> Changes:
    """Return changes that round every value that a runtime keeps."""
    structure = Structure(graph)
    return Changes(leaving=lambda node, tensor: rounded(tensor) if structure.is_kept(node) else tensor)


def _stored(graph: "GraphDef", stored: "Stored") -> "GraphDef":
    """Return the graph with its float constants as a format stores them."""
    changed, readers = copy_of(graph), Structure(graph).readers
    for node in changed.node:
        if node.op == "Const" and readers[node.name] and (value := value_of(node)).dtype == "float32":
            node.CopyFrom(constant_node(node.name, stored(value, readers[node.name][0])))
    return changed


SIMULATIONS: Final[dict[str, "Callable[[GraphDef, Source], Simulated]"]] = {
    "float32": _float32,
    "float16-weights": _float16_weights,
    "float16": _float16,
    "dynamic": _dynamic,
    "int8": lambda graph, source: integer_graph(graph, source, dense_per_channel=False),
    "int8-dense-per-channel": lambda graph, source: integer_graph(graph, source, dense_per_channel=True),
    "onnx-7-bit": lambda graph, source: paired_graph(graph, source, weight_bits=7),
    "onnx-8-bit": lambda graph, source: paired_graph(graph, source, weight_bits=8),
    "uint8-weights": _uint8_weights,
    "uint16-weights": _uint16_weights,
    "int8-weights": _compressed(_per_channel),
}
# The forms of operations that files in integers have.
ONNX_INTEGERS: Final = (*EVERYWHERE, SPELLED)
REWRITES: Final = {
    "int8": TFLITE_INTEGERS,
    "int8-dense-per-channel": TFLITE_INTEGERS,
    "onnx-7-bit": ONNX_INTEGERS,
    "onnx-8-bit": ONNX_INTEGERS,
}
# Bits of each index into a palette.
PALETTES: Final = {"palettized-6": 6, "palettized-4": 4}
