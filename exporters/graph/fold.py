# SPDX-License-Identifier: Apache-2.0
"""Batch normalisation folded into the weights of a frozen graph.

Keras 3 traces inference-time batch normalisation to constants and arithmetic; with the constants computed it is

    y = convolution(x, w) * scale + shift      and becomes      y = BiasAdd(convolution(x, w * scale), shift)

which every converter fuses, while the first form costs two more passes over memory (in TF.js about a fifth of the time). It
works on the graph, not on Keras layers, so it handles nested, shared and subclassed models too.
"""

from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

LINEAR: Final = ("Conv2D", "DepthwiseConv2dNative", "MatMul")
ADDITIONS: Final = ("Add", "AddV2")


def fold_constants(graph: "GraphDef", output: str) -> "GraphDef":
    """Return the graph with values that depend only on constants computed, and nodes that the output does not need removed.

    Sizes that are known are constants, such as height and width where the batch size is open.
    """
    import numpy as np
    import tensorflow as tf

    folded = copy_of(graph)
    with tf.Graph().as_default() as whole:
        tf.import_graph_def(graph, name="")
    if sizes := _known_sizes(folded, whole):
        for node in folded.node:
            if node.name in sizes:
                node.CopyFrom(constant_node(node.name, sizes[node.name]))
        return fold_constants(folded, output)
    computed = _edge_of_constants(graph, whole)
    if computed:
        with tf.compat.v1.Session(graph=whole) as session:
            values = session.run({name: f"{name}:0" for name in computed})
        for node in folded.node:
            if node.name in values:
                node.CopyFrom(constant_node(node.name, np.asarray(values[node.name])))
    return reachable(folded, output)


def fold_batchnorm(graph: "GraphDef", output: str) -> "tuple[GraphDef, int]":
    """Return the graph with batch normalisation folded into the weights, and how many were folded.

    Expects folded constants. Weights are scaled in float64 and rounded to float32 once.
    """
    folded = copy_of(graph)
    nodes = {node.name: node for node in folded.node}
    uses = Counter(node_of(name) for node in folded.node for name in node.input)
    scaled = [node for node in folded.node if node.op == "Mul"]
    count = sum(_fold_one(node, nodes, uses, folded) for node in scaled)
    return reachable(_with_bias_adds(reachable(folded, output)), output), count


def _fold_one(multiply: "NodeDef", nodes: "dict[str, NodeDef]", uses: "Counter[str]", graph: "GraphDef") -> bool:
    """Fold one multiplication by a constant into the linear operation before it; return whether it was possible."""
    found = _variable_and_constant(multiply, nodes)
    if found is None:
        return False
    before, scale = found
    bias = None
    if before.op in (*ADDITIONS, "BiasAdd") and uses[before.name] == 1:
        found = _variable_and_constant(before, nodes)
        if found is None:
            return False
        addition, (before, bias) = before, found
    weights = nodes.get(node_of(before.input[1])) if before.op in LINEAR else None
    if weights is None or weights.op != "Const" or uses[before.name] != 1 or not is_channels_last(before):
        return False
    new_weights = _scaled(before, value_of(weights), scale.reshape(-1))
    if new_weights is None:
        return False
    before.input[1] = _added(constant_node(f"{multiply.name}/folded_weights", new_weights), graph, nodes, uses)
    if bias is None:
        _replace(multiply, before.name, uses)
    else:
        new_bias = (bias.astype("float64") * scale).astype("float32")
        # Keras's scale may have four dimensions; BiasAdd takes one.
        shift = constant_node(f"{multiply.name}/folded_bias", new_bias.reshape(-1) if addition.op == "BiasAdd" else new_bias)
        operand = 1 if node_of(addition.input[0]) == before.name else 0
        addition.input[operand] = _added(shift, graph, nodes, uses)
        _replace(multiply, addition.name, uses)
    return True


def _added(node: "NodeDef", graph: "GraphDef", nodes: "dict[str, NodeDef]", uses: "Counter[str]") -> str:
    """Add a node that is used once to the graph; return its name."""
    graph.node.append(node)
    nodes[node.name] = graph.node[-1]
    uses[node.name] = 1
    return str(node.name)


def _scaled(linear: "NodeDef", weights: "NDArray[np.float32]", scale: "NDArray[np.float32]") -> "NDArray[np.float32] | None":
    wide = scale.astype("float64")
    if linear.op == "DepthwiseConv2dNative":
        channels = weights.shape[2] * weights.shape[3]
        if wide.size not in {1, channels}:
            return None
        wide = wide.repeat(channels // wide.size).reshape(weights.shape[2:])
    elif (linear.op == "MatMul" and linear.attr["transpose_b"].b) or wide.size not in {1, weights.shape[-1]}:
        return None
    scaled: NDArray[np.float32] = (weights.astype("float64") * wide).astype("float32")
    return scaled


def _with_bias_adds(graph: "GraphDef") -> "GraphDef":
    """Return the graph with ``linear + constant`` replaced by BiasAdd, the form that converters fuse."""
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        if node.op not in ADDITIONS:
            continue
        found = _variable_and_constant(node, nodes)
        if found is None or found[0].op not in LINEAR or found[1].ndim == 0 or found[1].size != found[1].shape[-1]:
            continue
        if not is_channels_last(found[0]) or found[1].size != _channels(found[0], nodes):
            continue
        bias = constant_node(f"{node.name}/bias", found[1].reshape(-1))
        graph.node.append(bias)
        node.op = "BiasAdd"
        node.input[:] = [found[0].name, bias.name]
    return graph


def _channels(linear: "NodeDef", nodes: "dict[str, NodeDef]") -> int:
    weights = nodes[node_of(linear.input[1])]
    if weights.op != "Const":
        return -1
    shape = [int(size.size) for size in weights.attr["value"].tensor.tensor_shape.dim]
    return shape[2] * shape[3] if linear.op == "DepthwiseConv2dNative" else shape[-1]


def _variable_and_constant(node: "NodeDef", nodes: "dict[str, NodeDef]") -> "tuple[NodeDef, NDArray[np.float32]] | None":
    """Return the operand that varies, and the constant one where it is a scalar or one number per channel (the last axis)."""
    for at, other in ((0, 1), (1, 0)):
        constant = nodes[node_of(node.input[at])]
        if constant.op == "Const" and nodes[node_of(node.input[other])].op != "Const":
            value = value_of(constant)
            if value.dtype == "float32" and (value.ndim == 0 or value.size == value.shape[-1]):
                return nodes[node_of(node.input[other])], value
    return None


def is_channels_last(node: "NodeDef") -> bool:
    """Return whether an operation expects [batch, height, width, channels], TensorFlow's default."""
    # Reading a key that a protobuf map lacks would add it.
    return "data_format" not in node.attr or bool(node.attr["data_format"].s == b"NHWC")


def _replace(node: "NodeDef", source: str, uses: "Counter[str]") -> None:
    """Turn a node into one that returns its source unchanged."""
    kind = node.attr["T"].type
    node.op = "Identity"
    node.input[:] = [source]
    node.attr.clear()
    node.attr["T"].type = kind
    uses[source] = 1


def value_of(constant: "NodeDef") -> "NDArray[np.float32]":
    """Return the value of a Const node."""
    import tensorflow as tf

    value: NDArray[np.float32] = tf.make_ndarray(constant.attr["value"].tensor)
    return value


def constant_node(name: str, value: "NDArray[np.float32]") -> "NodeDef":
    """Return a Const node with a value."""
    import tensorflow as tf

    node = tf.compat.v1.NodeDef(name=name, op="Const")
    node.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(value))
    node.attr["dtype"].type = node.attr["value"].tensor.dtype
    return node


def _edge_of_constants(graph: "GraphDef", whole: "tf.Graph") -> list[str]:
    """Return the nodes that depend only on constants and are read by a node that does not."""
    constant: set[str] = set()
    edge: set[str] = set()
    for node in _in_order(graph):
        inputs = [node_of(name) for name in node.input]
        operation = whole.get_operation_by_name(node.name)
        if node.op == "Const" or (inputs and constant.issuperset(inputs) and _is_computable(operation)):
            constant.add(node.name)
        else:
            edge.update(name for name in inputs if name in constant)
    return sorted(node.name for node in graph.node if node.name in edge and node.op != "Const")


def _known_sizes(graph: "GraphDef", whole: "tf.Graph") -> "dict[str, NDArray[np.float32]]":
    """Return the sizes taken out of the shape of a value, by the name of the slice that takes them, where they are known."""
    import numpy as np
    import tensorflow as tf

    known = {}
    for node in graph.node:
        operation = whole.get_operation_by_name(node.name)
        if node.op != "StridedSlice" or operation.inputs[0].op.type != "Shape":
            continue
        shape = operation.inputs[0].op.inputs[0].shape
        begin, end, step = (tf.get_static_value(each) for each in operation.inputs[1:])
        plain = not any(node.attr[name].i for name in ("ellipsis_mask", "new_axis_mask"))
        if shape.rank is None or begin is None or end is None or step is None or len(begin) != 1 or not plain:
            continue
        first = None if node.attr["begin_mask"].i else int(begin[0])
        last = None if node.attr["end_mask"].i else int(end[0])
        is_one = bool(node.attr["shrink_axis_mask"].i)
        sizes = shape.as_list()[first] if is_one else shape.as_list()[first : last : int(step[0])]
        if sizes is not None and (is_one or None not in sizes):
            known[node.name] = np.asarray(sizes, operation.outputs[0].dtype.as_numpy_dtype)
    return known


def _is_computable(operation: "tf.Operation") -> bool:
    # A variant (a list of tensors in a recurrent layer) or a resource cannot be stored as a constant.
    kinds = [output.dtype for output in operation.outputs]
    return (
        not operation.op_def.is_stateful and len(kinds) == 1 and (kinds[0].is_floating or kinds[0].is_integer or kinds[0].is_bool)
    )


def _in_order(graph: "GraphDef") -> "list[NodeDef]":
    nodes = {node.name: node for node in graph.node}
    done: dict[str, NodeDef] = {}
    waiting = [node.name for node in reversed(graph.node)]
    while waiting:
        name = waiting[-1]
        ahead = [other for other in map(node_of, nodes[name].input) if other not in done]
        if ahead and name not in done:
            waiting += ahead
        else:
            done[waiting.pop()] = nodes[name]
    return list(done.values())


def reachable(graph: "GraphDef", output: str) -> "GraphDef":
    """Return the nodes that the output needs, inputs first, without Identity nodes and control dependencies."""
    nodes = {node.name: node for node in graph.node}

    def source(name: str) -> str:
        node = nodes[node_of(name)]
        passes_on = node.op == "Identity" and node.name != output
        return source(node.input[0]) if passes_on else name.removesuffix(":0")

    kept = type(graph)(versions=graph.versions, library=graph.library)
    needed, waiting = set(), [output]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            nodes[name].input[:] = [source(each) for each in nodes[name].input if not each.startswith("^")]
            waiting += map(node_of, nodes[name].input)
    kept.node.extend(node for node in _in_order(graph) if node.name in needed)
    return kept


def copy_of(graph: "GraphDef") -> "GraphDef":
    """Return a copy of a graph, to be changed without changing the graph."""
    copy = type(graph)()
    copy.CopyFrom(graph)
    return copy


def node_of(name: str) -> str:
    """Return the name of the node that an input refers to, such as ``conv`` for ``^conv`` or ``conv:1``."""
    return name.removeprefix("^").split(":")[0]
