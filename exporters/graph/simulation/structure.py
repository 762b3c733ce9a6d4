# SPDX-License-Identifier: Apache-2.0
"""Which values of a graph a runtime keeps: a bias and an activation are computed together with the operation before them."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Final

from edgeferry.exporters.graph.fold import ADDITIONS, LINEAR, node_of

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

# The activations that TF Lite fuses into the operation before, and the operations that it fuses them into.
ACTIVATIONS: Final = ("Relu", "Relu6")
FUSING: Final = (*LINEAR, *ADDITIONS, "BiasAdd", "Sub", "Mul", "AvgPool", "MaxPool", "ConcatV2")
# Operations that only move or choose values, so that their results need no rounding.
PASSING: Final = frozenset(
    {
        *("BatchToSpaceND", "DepthToSpace", "ExpandDims", "GatherV2", "Identity", "MaxPool", "MirrorPad", "Pack", "Pad", "PadV2"),
        *(
            "Reshape",
            "ResizeNearestNeighbor",
            "ReverseV2",
            "Slice",
            "SpaceToBatchND",
            "SpaceToDepth",
            "Split",
            "SplitV",
            "Squeeze",
        ),
        *("StridedSlice", "Tile", "Transpose", "Unpack"),
    }
)
# Operations whose result TF Lite holds on the scale of their input.
SAME_SCALE: Final = frozenset({"AvgPool", "ResizeBilinear"})


@dataclass(frozen=True, eq=False)
class Structure:
    """A graph with constants folded, its nodes in the order in which they are computed."""

    graph: "GraphDef"

    @cached_property
    def nodes(self) -> "dict[str, NodeDef]":
        """Return the nodes by name."""
        return {node.name: node for node in self.graph.node}

    @cached_property
    def readers(self) -> "dict[str, list[NodeDef]]":
        """Return the nodes that read each node, one entry per input that does."""
        found: dict[str, list[NodeDef]] = defaultdict(list)
        for node in self.graph.node:
            for name in node.input:
                found[node_of(name)].append(node)
        return found

    def is_kept(self, node: "NodeDef") -> bool:
        """Return whether a runtime keeps a node's result: it computes, and nothing is fused into it."""
        readers = self.readers[node.name]
        if node.op == "Const" or node.op in PASSING:
            return False
        return not (len(readers) == 1 and _is_fused(readers[0], node))

    def maker(self, name: str) -> str:
        """Return the node that computed the values that a name refers to, moved or chosen by others since."""
        node = self.nodes[node_of(name)]
        while node.op in PASSING:
            # Of a Split, the axis comes first.
            node = self.nodes[node_of(node.input[1 if node.op == "Split" else 0])]
        return str(node.name)

    def weights(self, node: "NodeDef") -> "NodeDef | None":
        """Return the constant weights of a linear operation, or None where the node is another or they are computed."""
        found = self.nodes[node_of(node.input[1])] if node.op in LINEAR else None
        return found if found is not None and found.op == "Const" else None


def _is_fused(reader: "NodeDef", node: "NodeDef") -> bool:
    if reader.op == "BiasAdd":
        return node.op in LINEAR
    return reader.op in ACTIVATIONS and node.op in FUSING


def channel_axes(linear: "NodeDef") -> tuple[int, ...]:
    """Return the axes of a linear operation's weights that count its results."""
    if linear.op == "DepthwiseConv2dNative":
        return (2, 3)
    if linear.op == "MatMul":
        return (0,) if linear.attr["transpose_b"].b else (1,)
    return (3,)
