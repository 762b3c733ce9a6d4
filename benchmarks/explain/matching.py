# SPDX-License-Identifier: Apache-2.0
"""Which node of the frozen graph each tensor of a file is: converters keep the names of the nodes that they were given.

TF Lite joins the names of operations that became one with semicolons, ONNX numbers results (``:0``), Core ML replaces what is no
letter or digit and says what it cast to. Of several names the node that is computed last is the tensor.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeferry.exporters.graph.fold import node_of
from edgeferry.exporters.graph.layers import innermost_layer
from edgeferry.exporters.graph.source import INPUT

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

# What Core ML's converter adds to a name whose type it changes.
CAST: Final = re.compile(r"(_cast_fp(16|32)|_to_fp(16|32)|_cast_to_fp32)+$")
NOT_A_LETTER: Final = re.compile(r"[^A-Za-z0-9_]")


@dataclass(frozen=True)
class Stretch:
    """The part of a network that ends in a value that a file shows, and begins with the last such values before it.

    ``node`` is the node that computes it, ``tensor`` its name in the file; ``starts`` are the nodes that it begins with,
    ``layers`` the Keras layers in between, in order, and ``operations`` what they compute.
    """

    node: str
    tensor: str
    starts: tuple[str, ...]
    layers: tuple[str, ...]
    operations: tuple[str, ...]


def matched(tensors: Iterable[str], graph: "GraphDef", output: str) -> dict[str, str]:
    """Return the tensor of a file that each node is, by the node's name, in the order in which nodes are computed."""
    order = {node.name: at for at, node in enumerate(graph.node) if node.op != "Const"}
    # A Core ML file's picture is not normalised, so it is not the input of the graph.
    plain = {_plain(name): name for name in order if name != INPUT}
    found: dict[str, str] = {}
    for tensor in tensors:
        known = [name for part in tensor.split(";") if (name := _node(part, order, plain)) is not None]
        if known:
            # What a file writes last has the value that others read.
            found[max(known, key=order.__getitem__)] = tensor
    return {name: found[name] for name in sorted(found, key=order.__getitem__) if name in found or name in {INPUT, output}}


def _node(tensor: str, order: Mapping[str, int], plain: Mapping[str, str]) -> str | None:
    name = tensor.removesuffix(":0")
    return name if name in order else plain.get(CAST.sub("", name))


def _plain(name: str) -> str:
    return NOT_A_LETTER.sub("_", name)


def stretches(graph: "GraphDef", tensors: Mapping[str, str], scopes: Mapping[str, str]) -> Iterator[Stretch]:
    """Yield the parts of a network between the nodes that are tensors of a file, in the order of computation."""
    nodes = {node.name: node for node in graph.node}
    order = {node.name: at for at, node in enumerate(graph.node)}
    for node, tensor in tensors.items():
        within, starts, waiting = [node], set[str](), list(map(node_of, nodes[node].input))
        while waiting:
            name = waiting.pop()
            if name in tensors or name == INPUT:
                starts.add(name)
            elif name not in within and nodes[name].op != "Const":
                within.append(name)
                waiting += map(node_of, nodes[name].input)
        inner = sorted(within, key=order.__getitem__)
        layers = [layer for each in inner if (layer := innermost_layer(each, scopes)) is not None]
        operations = [nodes[each].op for each in inner if nodes[each].op != "Identity"]
        first = sorted(starts, key=order.__getitem__)
        yield Stretch(node, tensor, tuple(first), tuple(dict.fromkeys(layers)), tuple(operations))


def unmatched(graph: "GraphDef", parts: Sequence[Stretch], scopes: Mapping[str, str]) -> tuple[str, ...]:
    """Return the Keras layers whose results no tensor of a file is, so that they are counted with those after them."""
    shown = {part.layers[-1] for part in parts if part.layers}
    names = [layer for node in graph.node if (layer := innermost_layer(node.name, scopes)) is not None]
    return tuple(each for each in dict.fromkeys(names) if each not in shown)
