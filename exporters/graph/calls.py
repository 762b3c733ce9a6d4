# SPDX-License-Identifier: Apache-2.0
"""Function calls replaced by the functions' bodies, and conditions that are constant by the branch that is taken.

Keras wraps a grouped convolution in a function compiled by XLA, and resizes with padding in two branches.
"""

from typing import TYPE_CHECKING, Final

from edgeferry.exporters.graph.fold import copy_of, fold_constants, value_of

if TYPE_CHECKING:
    from tensorflow.core.framework.function_pb2 import FunctionDef
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

CALLS: Final = ("PartitionedCall", "StatefulPartitionedCall")
CONDITIONS: Final = ("If", "StatelessIf")
# Changed functions get new names, because TensorFlow has registered the old ones already.
CHANGED: Final = "_to_be_inlined"
# A branch may hold a call, and its body a condition.
DEEPEST: Final = 8


def inlined(graph: "GraphDef", output: str) -> "GraphDef":
    """Return the graph with constants folded, and without calls and constant conditions."""
    graph = fold_constants(graph, output)
    for _ in range(DEEPEST):
        decided = _decided(graph)
        if not any(node.op in CALLS for node in decided.node):
            break
        graph = fold_constants(_without_calls(decided, output), output)
    return graph


def _decided(graph: "GraphDef") -> "GraphDef":
    """Return the graph with each condition whose value is a constant as a call of the branch taken."""
    decided = copy_of(graph)
    nodes = {node.name: node for node in decided.node}
    for node in decided.node:
        condition = nodes.get(node.input[0].removesuffix(":0")) if node.op in CONDITIONS else None
        if condition is None or condition.op != "Const":
            continue
        branch = node.attr["then_branch" if bool(value_of(condition)) else "else_branch"]
        call = type(node)(name=node.name, op="PartitionedCall", input=node.input[1:])
        call.attr["f"].CopyFrom(branch)
        for name in ("Tin", "Tout"):
            call.attr[name].CopyFrom(node.attr[name])
        node.CopyFrom(call)
    return decided


def _without_calls(graph: "GraphDef", output: str) -> "GraphDef":
    """Return the graph with the bodies of functions in place of calls."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    from edgeferry.exporters.graph.source import function_of

    called = copy_of(graph)
    functions = {each.signature.name: each for each in called.library.function}
    for each in (*called.node, *functions.values()):
        # Functions that XLA must compile are not inlined.
        each.attr.pop("_XlaMustCompile", None)
    for each in [value.func for node in (*called.node, *_nodes_in(functions)) for value in node.attr.values()]:
        if each.name in functions:
            each.name += CHANGED
    for name, function in functions.items():
        function.signature.name = name + CHANGED
    constant = convert_variables_to_constants_v2(function_of(called, output), lower_control_flow=False, aggressive_inlining=True)
    return constant.graph.as_graph_def()


def _nodes_in(functions: "dict[str, FunctionDef]") -> "list[NodeDef]":
    return [node for function in functions.values() for node in function.node_def]
