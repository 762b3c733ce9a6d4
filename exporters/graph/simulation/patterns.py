# SPDX-License-Identifier: Apache-2.0
"""Chains of operations that TF Lite computes as one, so that nothing in between is rounded to 8 bits."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from edgeferry.exporters.graph.fold import ADDITIONS, LINEAR, node_of

if TYPE_CHECKING:
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    from edgeferry.exporters.graph.simulation.structure import Structure


def computed_within(structure: "Structure") -> frozenset[str]:
    """Return the nodes whose results TF Lite never holds: parts of a hard swish, and what takes a constant into its bias."""
    return frozenset(
        name for node in structure.graph.node for name in (*_hard_swish(node, structure), *moved_by(node, structure))
    )


def _hard_swish(node: "NodeDef", structure: "Structure") -> Iterator[str]:
    """Yield the inner nodes of ``x * relu6(x + 3) / 6``, where a node is its last."""
    if node.op != "Mul":
        return
    for value, gate in (tuple(node.input), tuple(reversed(node.input))):
        chain = list(_gate(structure.nodes[node_of(gate)], structure))
        operations = [each.op for each in chain]
        is_gate = (
            len(chain) == 3 and operations[0] in {"Mul", "RealDiv"} and operations[1] == "Relu6" and operations[2] in ADDITIONS
        )
        if is_gate and node_of(value) in map(node_of, chain[2].input):
            yield from (each.name for each in chain)


def _gate(node: "NodeDef", structure: "Structure") -> "Iterator[NodeDef]":
    """Yield a node and the two before it, as long as each is read once."""
    for _ in range(3):
        if len(structure.readers[node.name]) > 1 or not node.input:
            return
        yield node
        node = _varying(node, structure)


def _varying(node: "NodeDef", structure: "Structure") -> "NodeDef":
    """Return the first input of a node that is no constant, or its first."""
    inputs = [structure.nodes[node_of(name)] for name in node.input]
    return next((each for each in inputs if each.op != "Const"), inputs[0])


def moved_by(node: "NodeDef", structure: "Structure") -> Iterator[str]:
    """Yield a linear operation, or its bias, that only an addition of a constant reads: the constant moves into the bias.

    Where an activation is fused into that addition, it is fused into the operation.
    """
    if node.op not in ADDITIONS:
        return
    before, has_constant = _varying(node, structure), any(structure.nodes[node_of(name)].op == "Const" for name in node.input)
    linear = structure.nodes[node_of(before.input[0])] if before.op == "BiasAdd" else before
    if has_constant and linear.op in LINEAR and len(structure.readers[before.name]) == 1:
        yield before.name
