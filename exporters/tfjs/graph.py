# SPDX-License-Identifier: Apache-2.0
"""A frozen graph rewritten to operations that TensorFlow.js supports, as few as possible.

The TensorFlow.js converter runs TensorFlow's optimizer, whose result depends on the exporting machine (oneDNN fuses activations
that no browser supports: MobileNetV3's hard swish, tanh). The converter's own passes treat any addition after a convolution
without a bias as a bias, and fuse an activation even if another node reads its input. So biases and activations are fused here,
before the converter runs.
"""

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from edgeferry.exporters.graph.fold import (
    ADDITIONS,
    LINEAR,
    constant_node,
    copy_of,
    is_channels_last,
    node_of,
    reachable,
    value_of,
)

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    Consumers = dict[str, list[NodeDef]]

# The activations that every backend of TensorFlow.js fuses.
ACTIVATIONS: Final = ("Relu", "Relu6", "Elu")
# Fused too, but not into depthwise convolutions: there TensorFlow.js would ignore the slope.
LEAKY: Final = "LeakyRelu"
FUSED: Final = {"Conv2D": "_FusedConv2D", "DepthwiseConv2dNative": "_FusedDepthwiseConv2dNative", "MatMul": "_FusedMatMul"}
KEPT_ATTRIBUTES: Final = {
    "Conv2D": ("T", "strides", "padding", "explicit_paddings", "data_format", "dilations"),
    "DepthwiseConv2dNative": ("T", "strides", "padding", "data_format", "dilations"),
    "MatMul": ("T", "transpose_a", "transpose_b"),
}
# The one fused operation that TensorFlow.js calls by another name than TensorFlow.
DEPTHWISE: Final = "FusedDepthwiseConv2dNative"
CONVOLUTIONS: Final = ("Conv2D", "_FusedConv2D", "DepthwiseConv2dNative", DEPTHWISE)


def prepared(graph: "GraphDef", output: str) -> "GraphDef":
    """Return the graph with biases and activations fused, and operations that TensorFlow.js lacks replaced.

    Expects folded constants, and biases added by BiasAdd.
    """
    changed = copy_of(graph)
    _give_biases(changed)
    _fuse(changed)
    return reachable(changed, output)


def finished(graph: "GraphDef", output: str) -> "GraphDef":
    """Return an optimized graph with TensorFlow.js's operation names, and zero padding merged into the following convolutions."""
    named = copy_of(graph)
    for node in named.node:
        if node.op == FUSED["DepthwiseConv2dNative"]:
            node.op = DEPTHWISE
    _pad_within(named)
    return reachable(named, output)


def _give_biases(graph: "GraphDef") -> None:
    """Add a bias of zeros to linear operations without one where an addition or an activation follows."""
    import numpy as np
    import tensorflow as tf

    with tf.Graph().as_default() as inferred:
        tf.import_graph_def(graph, name="")
    consumers = _consumers(graph)
    for node in [each for each in graph.node if each.op in LINEAR and _is_plain(each)]:
        channels = inferred.get_tensor_by_name(f"{node.name}:0").shape[-1]
        if channels and any(each.op in (*ADDITIONS, *ACTIVATIONS, LEAKY) for each in consumers[node.name]):
            zeros = _added(constant_node(f"{node.name}/zeros", np.zeros(channels, np.float32)), graph)
            bias = graph.node.add(name=f"{node.name}/no_bias", op="BiasAdd", input=[node.name, zeros])
            bias.attr["T"].CopyFrom(node.attr["T"])
            for each in consumers[node.name]:
                each.input[:] = [bias.name if node_of(name) == node.name else name for name in each.input]


def _fuse(graph: "GraphDef") -> None:
    nodes, consumers = {node.name: node for node in graph.node}, _consumers(graph)
    for bias in [each for each in graph.node if each.op == "BiasAdd"]:
        linear = nodes[node_of(bias.input[0])]
        if linear.op not in LINEAR or not _is_plain(linear) or len(consumers[linear.name]) > 1:
            continue
        inputs = [*linear.input, bias.input[1]]
        following = consumers[bias.name]
        known = ACTIVATIONS if linear.op == "DepthwiseConv2dNative" else (*ACTIVATIONS, LEAKY)
        activation = following[0] if len(following) == 1 and following[0].op in known else None
        _become_fused(activation or bias, linear, inputs, activation.op if activation else None)


def _become_fused(node: "NodeDef", linear: "NodeDef", inputs: list[str], activation: str | None) -> None:
    """Turn the last node of a chain into the fused operation; nothing reads the others any more."""
    alpha = node.attr["alpha"].f if activation == LEAKY else None
    node.op = FUSED[linear.op]
    node.input[:] = inputs
    node.attr.clear()
    for name in KEPT_ATTRIBUTES[linear.op]:
        if name in linear.attr:
            node.attr[name].CopyFrom(linear.attr[name])
    node.attr["num_args"].i = 1
    node.attr["fused_ops"].list.s.extend([b"BiasAdd", *([activation.encode()] if activation else [])])
    if linear.op == "Conv2D":
        node.attr["TArgs"].list.type.append(linear.attr["T"].type)
    if alpha is not None:
        node.attr["leakyrelu_alpha"].f = alpha


def _pad_within(graph: "GraphDef") -> None:
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        pad = nodes[node_of(node.input[0])] if node.op in CONVOLUTIONS else None
        if pad is None or pad.op != "Pad" or node.attr["padding"].s != b"VALID" or not _is_plain(node):
            continue
        paddings = nodes[node_of(pad.input[1])]
        widths = value_of(paddings).reshape(-1).tolist() if paddings.op == "Const" else []
        if len(widths) == 8 and not any(widths[:2] + widths[6:]):
            node.attr["padding"].s = b"EXPLICIT"
            node.attr["explicit_paddings"].list.i[:] = widths
            node.input[0] = pad.input[0]


def _is_plain(node: "NodeDef") -> bool:
    """Return whether channels are the last axis, and inputs and outputs are float32."""
    return is_channels_last(node) and bool(node.attr["T"].type == 1)


def _added(node: "NodeDef", graph: "GraphDef") -> str:
    graph.node.append(node)
    return str(node.name)


def _consumers(graph: "GraphDef") -> "Consumers":
    """Return the nodes that read each node's output, one entry per reading input."""
    found: Consumers = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            found[node_of(name)].append(node)
    return found
