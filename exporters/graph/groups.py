# SPDX-License-Identifier: Apache-2.0
"""Grouped convolutions of a frozen graph, replaced by one convolution per group.

TF Lite supports grouped convolutions from CONV_2D version 6 on, which 2.5, 2.7 and the Edge TPU lack. The same computation in
operations that every runtime supports:

    y = convolution(x, w in g groups)    becomes    y = concat(convolution(split(x, g)[i], w[i]) for each group i)

and one depthwise convolution where a group is one channel. The bias and activation that follow move into each group, where
converters fuse them.
"""

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgeferry.exporters.graph.fold import constant_node, copy_of, is_channels_last, node_of, reachable, value_of
from edgeferry.exporters.graph.rewritten import difference_from_keras
from edgeferry.exporters.graph.source import FOLD_TOLERANCE, Source
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

# The activations that TF Lite fuses into a convolution.
FUSED_ACTIVATIONS: Final = ("Relu", "Relu6")
LAST_AXIS: Final = 3


def without_groups(source: Source) -> tuple[Source, int]:
    """Return the classifier without grouped convolutions, and how many there were; batch normalisation is folded into the groups.

    Raises:
        EdgeError: its outputs for golden images would change.
    """
    split, groups = split_groups(source.graph, source.output)
    if not groups:
        return source, 0
    single = split_groups(source.single, source.output)[0] if source.single is not None else None
    ungrouped = replace(source, graph=split, single=single)
    if source.is_sound and (change := difference_from_keras(ungrouped)) > FOLD_TOLERANCE:
        raise EdgeError(
            "EF-grouped-convolution",
            f"replacing grouped convolutions by one convolution per group changes outputs by {change:.1e}, more than "
            f"{FOLD_TOLERANCE:.0e}; use one Conv2D per group in the Keras model",
        )
    return ungrouped, groups


def notes_on(groups: int) -> tuple[str, ...]:
    """Return what a manifest notes where a classifier had so many grouped convolutions."""
    return (f"{groups} grouped convolutions written as one per group, or depthwise",) if groups else ()


def split_groups(graph: "GraphDef", output: str) -> "tuple[GraphDef, int]":
    """Return the graph without grouped convolutions, and how many there were.

    Expects that all sizes but the batch are known, weights are constants, and function calls are replaced by their bodies.
    """
    split = copy_of(graph)
    nodes = {node.name: node for node in split.node}
    uses = Counter(node_of(name) for node in split.node for name in node.input)
    found = {name: groups for name, groups in _groups(graph, nodes).items() if groups > 1}
    for name, groups in found.items():
        weights = value_of(nodes[node_of(nodes[name].input[1])])
        if weights.shape[2] == 1 and _has_equal_strides(nodes[name]):
            split.node.append(_as_depthwise(nodes[name], weights, groups))
        else:
            split.node.extend(_as_parts([nodes[name], *_tail(nodes[name], nodes, uses)], groups, nodes))
    return reachable(split, output), len(found)


def _groups(graph: "GraphDef", nodes: "dict[str, NodeDef]") -> dict[str, int]:
    """Return the number of groups of each Conv2D with constant weights, by node name."""
    import tensorflow as tf

    found = [node for node in graph.node if node.op == "Conv2D" and nodes[node_of(node.input[1])].op == "Const"]
    if not found:
        return {}
    with tf.Graph().as_default() as whole:
        tf.import_graph_def(graph, name="")
    depths = {node.name: value_of(nodes[node_of(node.input[1])]).shape[2] for node in found}
    return {node.name: _channels(whole, node) // depths[node.name] for node in found}


def _channels(whole: "tf.Graph", convolution: "NodeDef") -> int:
    if not is_channels_last(convolution):
        return 0
    name = convolution.input[0]
    shape = whole.get_tensor_by_name(name if ":" in name else f"{name}:0").shape
    return int(shape[-1] or 0) if shape.rank == 4 else 0


def _has_equal_strides(convolution: "NodeDef") -> bool:
    # TensorFlow's depthwise convolution supports equal strides only.
    _, height, width, _ = convolution.attr["strides"].list.i
    return bool(height == width)


def _tail(convolution: "NodeDef", nodes: "dict[str, NodeDef]", uses: "Counter[str]") -> "list[NodeDef]":
    """Return the BiasAdd and the activation that follow, up to the first value that more than one node reads."""
    tail: list[NodeDef] = []
    last = convolution
    for kinds in (("BiasAdd",), FUSED_ACTIVATIONS):
        after = [node for node in nodes.values() if node.op in kinds and node_of(node.input[0]) == last.name]
        if uses[last.name] == len(after) == 1 and all(nodes[node_of(name)].op == "Const" for name in after[0].input[1:]):
            last = after[0]
            tail.append(last)
    return tail


def _as_depthwise(convolution: "NodeDef", weights: "NDArray[np.float32]", channels: int) -> "NodeDef":
    """Turn a convolution with one channel per group into a depthwise one; return its new weights, for the caller to add."""
    height, width, _, filters = weights.shape
    # Filter m of group i has the index i * (filters per group) + m in both layouts.
    shaped = constant_node(f"{convolution.name}/depthwise", weights.reshape(height, width, channels, filters // channels))
    convolution.op = "DepthwiseConv2dNative"
    convolution.input[1] = shaped.name
    convolution.attr.pop("use_cudnn_on_gpu", None)
    return shaped


def _as_parts(chain: "list[NodeDef]", groups: int, nodes: "dict[str, NodeDef]") -> "list[NodeDef]":
    """Turn the last node of a chain into the concatenation of all groups; return the groups' nodes, for the caller to add."""
    import numpy as np

    first, last = chain[0], chain[-1]
    kind = first.attr["T"].type
    axis = constant_node(f"{first.name}/axis", np.asarray(LAST_AXIS, np.int32))
    split = type(first)(name=f"{first.name}/split", op="Split", input=[axis.name, first.input[0]])
    split.attr["T"].type, split.attr["num_split"].i = kind, groups
    parts = [_part(chain, (at, groups), f"{split.name}:{at}", nodes) for at in range(groups)]
    last.op, last.input[:] = "ConcatV2", [*(part[-1].name for part in parts), axis.name]
    last.attr.clear()
    last.attr["T"].type, last.attr["N"].i, last.attr["Tidx"].type = kind, groups, axis.attr["dtype"].type
    return [axis, split, *(node for part in parts for node in part)]


def _part(chain: "list[NodeDef]", place: tuple[int, int], image: str, nodes: "dict[str, NodeDef]") -> "list[NodeDef]":
    """Return the nodes of one group, its output last; ``place`` is the group's index and the number of groups."""
    import numpy as np

    at, groups = place
    part: list[NodeDef] = []
    for node in chain:
        copy = type(node)()
        copy.CopyFrom(node)
        copy.name = f"{node.name}/group_{at}"
        copy.input[0] = part[-1].name if part else image
        if len(node.input) > 1:
            whole = value_of(nodes[node_of(node.input[1])])
            own = constant_node(f"{copy.name}/values", np.split(whole, groups, axis=-1)[at])
            copy.input[1] = own.name
            part.append(own)
        part.append(copy)
    return part
