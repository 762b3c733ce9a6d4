# SPDX-License-Identifier: Apache-2.0
"""Changes to a frozen graph: its constants, or nodes before and after it."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.selftest.fault import impossible
from edgeferry.exporters.graph.fold import (
    ADDITIONS,
    LINEAR,
    constant_node,
    copy_of,
    fold_constants,
    node_of,
    reachable,
    value_of,
)
from edgeferry.exporters.graph.source import INPUT, Source

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    Values = NDArray[np.float32]

# Which of a model's layers a fault is in, as a fraction of their number.
PLACES: Final = {"first": 0.0, "middle": 0.5, "last": 1.0}


def with_graph(source: Source, change: "Callable[[GraphDef], GraphDef | None]") -> Source:
    """Return the classifier with a changed copy of its graph; ``change`` may change the copy or return another graph."""

    def changed(graph: "GraphDef") -> "GraphDef":
        copy = copy_of(graph)
        return reachable(change(copy) or copy, source.output)

    single = None if source.single is None else changed(source.single)
    return replace(source, graph=changed(source.graph), single=single, is_sound=False)


def with_input(source: Source, before: "Callable[[Any], Any]") -> Source:
    """Return the classifier with something done to its input first; ``before`` is written in TensorFlow."""
    return with_graph(source, lambda graph: _wrapped(graph, source, before, lambda scores: scores))


def with_output(source: Source, after: "Callable[[Any], Any]") -> Source:
    """Return the classifier with something done to its output last; ``after`` is written in TensorFlow."""
    return with_graph(source, lambda graph: _wrapped(graph, source, lambda image: image, after))


def _wrapped(graph: "GraphDef", source: Source, before: "Callable[[Any], Any]", after: "Callable[[Any], Any]") -> "GraphDef":
    import tensorflow as tf

    inner = f"{source.output}/inner"
    rest = type(graph)(versions=graph.versions, library=graph.library)
    rest.node.extend(node for node in graph.node if node.name != INPUT)
    next(node for node in rest.node if node.name == source.output).name = inner
    batch = tf.TensorShape(next(node for node in graph.node if node.name == INPUT).attr["shape"].shape)[0]
    with tf.Graph().as_default() as whole:
        image = tf.compat.v1.placeholder(tf.float32, (batch, *source.shape), name=INPUT)
        (scores,) = tf.graph_util.import_graph_def(rest, {f"{INPUT}:0": before(image)}, [f"{inner}:0"], name="")
        tf.identity(after(scores), name=source.output)
    return fold_constants(whole.as_graph_def(), source.output)


def layers_of(graph: "GraphDef") -> "list[NodeDef]":
    """Return the linear operations with constant weights, from the input to the output."""
    nodes = {node.name: node for node in graph.node}
    return [node for node in graph.node if node.op in LINEAR and nodes[node_of(node.input[1])].op == "Const"]


def layer_at(graph: "GraphDef", place: str) -> "NodeDef":
    """Return the first, the middle or the last linear operation."""
    found = layers_of(graph)
    if not found:
        raise impossible("the model has no layer with constant weights")
    return found[round(PLACES[place] * (len(found) - 1))]


def head_of(graph: "GraphDef", classes: int) -> "NodeDef":
    """Return the last linear operation, whose outputs are the classes."""
    head = layer_at(graph, "last")
    if weights_of(graph, head).shape[-1] != classes:
        raise impossible("the model's last layer with weights does not compute one number per class")
    return head


def weights_of(graph: "GraphDef", layer: "NodeDef") -> "Values":
    """Return a copy of a linear operation's weights; their last axis is the output, of depthwise ones the last two."""
    return value_of(_constant(graph, layer.input[1])).copy()


def set_weights(graph: "GraphDef", layer: "NodeDef", values: "Values") -> None:
    """Replace a linear operation's weights."""
    _set(graph, layer.input[1], values)


def by_channel(layer: "NodeDef", weights: "Values") -> "Values":
    """Return a view of weights as [..., channels], one column for every output channel."""
    return weights.reshape(-1, weights.shape[2] * weights.shape[3]) if layer.op == "DepthwiseConv2dNative" else weights


def bias_of(graph: "GraphDef", layer: "NodeDef") -> "Values | None":
    """Return a copy of the bias that is added to a linear operation, None where there is none."""
    name = _bias_name(graph, layer)
    return None if name is None else value_of(_constant(graph, name)).copy()


def set_bias(graph: "GraphDef", layer: "NodeDef", values: "Values") -> None:
    """Replace the bias that is added to a linear operation."""
    name = _bias_name(graph, layer)
    if name is None:
        raise impossible(f"{layer.name} has no bias")
    _set(graph, name, values)


def _bias_name(graph: "GraphDef", layer: "NodeDef") -> str | None:
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        if node.op in {"BiasAdd", *ADDITIONS} and layer.name in map(node_of, node.input):
            others = [name for name in node.input if node_of(name) != layer.name]
            if others and nodes[node_of(others[0])].op == "Const":
                return node_of(others[0])
    return None


def _constant(graph: "GraphDef", name: str) -> "NodeDef":
    return next(node for node in graph.node if node.name == node_of(name))


def _set(graph: "GraphDef", name: str, values: "Values") -> None:
    node = _constant(graph, name)
    node.CopyFrom(constant_node(node.name, values.astype("float32")))
