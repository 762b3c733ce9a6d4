# SPDX-License-Identifier: Apache-2.0
"""The constants of the folded graph, each with its layer, its layout and what converters may merge it with; kept once per model.

Two forms are kept where they differ: the graph's own constants, and those with every batch normalisation folded, which a
converter may compute itself. A file has to hold the constants that both have, unless a multiplication or addition of constants
next to them can be merged into them.
"""

import re
from collections import defaultdict
from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Final

from edgeferry.exporters.graph.calls import CALLS
from edgeferry.exporters.graph.fold import ADDITIONS, fold_batchnorm, node_of, value_of
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.weights.constants import (
    ARRAYS,
    RECORD,
    Constants,
    Fold,
    ModelConstant,
    fields_of,
    write_arrays,
)
from edgeferry.models.keras_loader import classifier
from edgeferry.models.system.files import sha256_of, whole_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

LAYOUTS: Final = {"Conv2D": "HWIO", "DepthwiseConv2dNative": "HWCM", "Conv2DBackpropInput": "HWOI", "MatMul": "IO"}
BIASES: Final = ("BiasAdd", *ADDITIONS)
# Operations that a factor can be moved across.
PASSES: Final = (
    *("Reshape", "Squeeze", "ExpandDims", "Pad", "PadV2", "Transpose", "Mean", "AvgPool", "MaxPool", "Identity"),
    *("SpaceToBatchND", "BatchToSpaceND", "ConcatV2", "Split"),
)
FACTORS: Final = ("Mul", "RealDiv")
# What changes a bias; weights are changed by factors alone.
OFFSETS: Final = ("Sub", *ADDITIONS)
SCALES: Final = (*FACTORS, *OFFSETS)
# A bias, and the offset of a batch normalisation or of a hard sigmoid after it.
MOST_ADDED: Final = 2
NORMALISES: Final = ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3")
FLOAT: Final = 1


def keep_constants(source: Source, folder: "Path", key: str) -> None:
    """Write the constants of a model and their record to a folder, whole or not at all."""
    plain = source.graph
    folded, _ = fold_batchnorm(plain, source.output)
    own, merged = _values(plain), _values(folded)
    known = {_content(node): name for name, node in own.items()}
    shared = {_content(node): name for name, node in merged.items()}
    around, around_folded = _Around(plain), _Around(folded)
    described = [_described(around, name, required=_content(node) in shared) for name, node in own.items()]
    described += [_described(around_folded, name, required=False) for at, name in shared.items() if at not in known]
    # What both graphs hold has the name of the first.
    names = {name: known.get(_content(node), name) for name, node in merged.items() if name not in own}
    sums = {each.name: (each, total) for graph in (around, around_folded) for each, total in _sums(graph)}
    arrays = (value_of((merged | own)[each.name]) for each in described)
    layers = {each.name for each in classifier(source.spec)._flatten_layers()}  # noqa: SLF001 - no public way to list sublayers
    kept = {each.name for each in described} | sums.keys()
    named = [
        replace(each, layer=_layer(each.layer, layers), biases=_kept(each.biases, names, kept))
        for each in (*described, *(each for each, _ in sums.values()))
    ]
    with whole_folder(folder) as place:
        write_arrays(
            place / ARRAYS, zip((each.name for each in named), chain(arrays, (total for _, total in sums.values())), strict=True)
        )
        record = Constants(key, source.reference.source_sha256, sha256_of(place / ARRAYS), tuple(named), folder)
        write_json(place / RECORD, fields_of(record))


def _values(graph: "GraphDef") -> "dict[str, NodeDef]":
    """Return the constants of more than one number in float32, by name."""
    return {
        node.name: node
        for node in graph.node
        if node.op == "Const"
        and node.attr["dtype"].type == FLOAT
        and node.attr["value"].tensor.tensor_shape.dim
        and sum(size.size > 1 for size in node.attr["value"].tensor.tensor_shape.dim)
    }


def _kept(biases: tuple[str, ...], names: dict[str, str], kept: set[str]) -> tuple[str, ...]:
    """Return biases by the names they are kept under; none where one is not kept, such as that of a layer with one output."""
    found = tuple(names.get(name, name) for name in biases)
    return found if kept.issuperset(found) else ()


def _content(node: "NodeDef") -> int:
    return hash(value_of(node).tobytes())


class _Around:
    """A graph's nodes by name, and which nodes read each."""

    def __init__(self, graph: "GraphDef") -> None:
        self.nodes = {node.name: node for node in graph.node}
        self.readers: dict[str, list[NodeDef]] = defaultdict(list)
        for node in graph.node:
            for name in node.input:
                self.readers[node_of(name)].append(node)

    def constant(self, node: "NodeDef") -> "NodeDef | None":
        """Return the constant among a node's inputs."""
        return next((found for name in node.input if (found := self.nodes[node_of(name)]).op == "Const"), None)

    def before(self, node: "NodeDef", operations: tuple[str, ...]) -> Fold:
        """Return how what a node reads was changed by constants in one of some operations."""
        while True:
            variable = [self.nodes[node_of(name)] for name in node.input if self.nodes[node_of(name)].op != "Const"]
            if not variable:
                return "none"
            node = variable[0]
            if node.op in CALLS or node.op in NORMALISES:
                return "per-channel"
            if node.op in SCALES:
                constant = self.constant(node)
                linear = [each for each in node.input if self.nodes[node_of(each)].op in LAYOUTS]
                if constant is None or linear:
                    return "none"
                if node.op in operations:
                    return _size(constant)
            elif node.op not in PASSES:
                return "none"

    def after(self, node: "NodeDef", operations: tuple[str, ...]) -> Fold:
        """Return how what a linear node computes is changed by constants in one of some operations, its bias apart."""
        biased = False
        while len(self.readers[node.name]) == 1:
            node = self.readers[node.name][0]
            if node.op in CALLS or node.op in NORMALISES:
                return "per-channel"
            constant = self.constant(node)
            if node.op in BIASES and constant is not None and not biased:
                biased = True
            elif node.op in SCALES and constant is not None:
                if node.op in operations:
                    return _size(constant)
            elif node.op not in PASSES:
                break
        return "none"


def _size(constant: "NodeDef") -> Fold:
    shape = constant.attr["value"].tensor.tensor_shape.dim
    return "per-channel" if any(size.size > 1 for size in shape) else "uniform"


def _described(around: _Around, name: str, *, required: bool) -> ModelConstant:
    reader = next(iter(around.readers[name]), None)
    if reader is not None and reader.op in LAYOUTS and node_of(reader.input[1]) == name:
        both = (around.before(reader, FACTORS), around.after(reader, FACTORS))
        fold: Fold = max(both, key=("none", "uniform", "per-channel").index)
        axes = "OI" if reader.op == "MatMul" and reader.attr["transpose_b"].b else LAYOUTS[reader.op]
        return ModelConstant(name, reader.name, "weight", axes, _biases(around, reader), fold, required and fold == "none")
    linear = None if reader is None else _linear_before(around, reader)
    if reader is not None and linear is not None and reader.op in BIASES:
        alone = _biases(around, linear) == (name,)
        return ModelConstant(name, linear.name, "bias", "", (), "none" if alone else "per-channel", required and alone)
    return ModelConstant(name, reader.name if reader is not None else name, "other", "", (), "per-channel", required=False)


def _biases(around: _Around, linear: "NodeDef") -> tuple[str, ...]:
    """Return the names of constants, one of which a file adds to what a linear operation computes; none where that is open."""
    if around.before(linear, OFFSETS) != "none" or around.after(linear, FACTORS) != "none":
        return ()
    added = _added(around, linear)
    names = tuple(constant.name for _, constant in added)
    return () if len(names) > MOST_ADDED else tuple("+".join(names[: count + 1]) for count in range(len(names)))


def _added(around: _Around, linear: "NodeDef") -> "list[tuple[NodeDef, NodeDef]]":
    """Return the additions of constants that follow a linear operation, one after the other, each with its constant."""
    found: list[tuple[NodeDef, NodeDef]] = []
    node = linear
    while len(around.readers[node.name]) == 1:
        node = around.readers[node.name][0]
        constant = around.constant(node)
        if node.op not in (*BIASES, "Sub") or constant is None or (node.op == "Sub" and not found):
            break
        found.append((node, constant))
    return found


def _linear_before(around: _Around, addition: "NodeDef") -> "NodeDef | None":
    found = (around.nodes[node_of(name)] for name in addition.input)
    return next((node for node in found if node.op in LAYOUTS), None)


def _sums(around: _Around) -> "Iterator[tuple[ModelConstant, NDArray[np.float32]]]":
    """Yield two constants that are added one after the other to what a linear operation computes, as one: converters do so."""
    for linear in [node for node in around.nodes.values() if node.op in LAYOUTS]:
        added = _added(around, linear)
        if len(added) < MOST_ADDED:
            continue
        (_, first), (addition, second) = added[:MOST_ADDED]
        total = value_of(first) + (-1 if addition.op == "Sub" else 1) * value_of(second)
        name = f"{first.name}+{second.name}"
        yield ModelConstant(name, linear.name, "bias", "", (), "per-channel", required=False), total.reshape(-1)


def _layer(node: str, layers: set[str]) -> str:
    """Return the innermost Keras layer that a node's name refers to: Keras numbers calls, 'my_layer_1' is one of 'my_layer'."""
    parts = [name for part in node.split("/") for name in (part, re.sub(r"_\d+$", "", part)) if name in layers]
    return parts[-1] if parts else node
