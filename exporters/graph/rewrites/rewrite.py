# SPDX-License-Identifier: Apache-2.0
"""A rewrite: a function that returns what is computed in place of an operation, or None where the operation stays.

Every rewrite is exact but for the last bits of float32. ``exporters/graph/rewritten.py`` holds each rewritten classifier against
the Keras model on golden images.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeferry.exporters.graph.fold import fold_constants, node_of, reachable
from edgeferry.exporters.graph.rebuild import Changes, rebuild

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef


@dataclass(frozen=True)
class Operation:
    """An operation of a graph, with the TensorFlow tensors that it reads, and the operations that read it in turn."""

    node: "NodeDef"
    inputs: list[Any]
    graph: "Readers"

    def constant(self, number: int) -> "NDArray[np.generic] | None":
        """Return the value of an input where it is a constant."""
        import tensorflow as tf

        value: NDArray[np.generic] | None = tf.get_static_value(self.inputs[number])
        return value

    @property
    def is_float(self) -> bool:
        """Return whether it computes float32 numbers."""
        return bool(self.node.attr["T"].type == 1)


# Equal only to itself, so that what is computed with it can be cached.
@dataclass(frozen=True, eq=False)
class Rewrites:
    """A family of rewrites, by the name of the operation that is rewritten."""

    title: str
    of: Mapping[str, Callable[[Operation], Any]]


@dataclass(frozen=True)
class Readers:
    """Which nodes read each node of a graph."""

    nodes: "Mapping[str, list[NodeDef]]"

    def of(self, node: "NodeDef") -> "list[NodeDef]":
        """Return the nodes that read a node."""
        return self.of_value(node.name)

    def of_value(self, name: str) -> "list[NodeDef]":
        """Return the nodes that read a value, named as an input names it."""
        return self.nodes.get(node_of(name), [])


def rewrite(graph: "GraphDef", output: str, families: tuple[Rewrites, ...]) -> "tuple[GraphDef, int]":
    """Return a graph with operations rewritten, and how many were.

    Expects folded constants, and nodes in the order in which they are computed.
    """
    if not any(node.op in family.of for node in graph.node for family in families):
        return graph, 0
    readers = _readers(graph)
    count = 0

    def replacing(node: "NodeDef", inputs: list[Any]) -> Any:
        nonlocal count
        operation = Operation(node, inputs, readers)
        found = (family.of[node.op](operation) for family in families if node.op in family.of)
        replaced = next((each for each in found if each is not None), None)
        count += replaced is not None
        return replaced

    built = rebuild(graph, Changes(replacing=replacing)).graph.as_graph_def()
    return (reachable(fold_constants(built, output), output), count) if count else (graph, 0)


def _readers(graph: "GraphDef") -> Readers:
    found: dict[str, list[NodeDef]] = defaultdict(list)
    for node in graph.node:
        for name in node.input:
            found[node_of(name)].append(node)
    return Readers(found)
