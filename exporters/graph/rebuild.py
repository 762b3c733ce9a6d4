# SPDX-License-Identifier: Apache-2.0
"""A frozen graph built again, operation by operation, with values or operations changed on their way; and run on images."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeferry.exporters.graph.fold import node_of
from edgeferry.exporters.graph.run import session_of
from edgeferry.exporters.graph.source import INPUT
from edgeferry.models.golden.scores import batch_of
from edgeferry.models.preprocessing import normalise

if TYPE_CHECKING:
    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    from edgeferry.models.preprocessing import Preprocessing


def _as_it_is(_node: "NodeDef", tensor: Any) -> Any:
    return tensor


def _kept(_node: "NodeDef", _inputs: list[Any]) -> Any:
    return None


@dataclass(frozen=True)
class Changes:
    """What happens to float values: ``arriving`` at a node (all of its inputs), and ``leaving`` it (each of its results).

    ``replacing`` returns the tensor that is computed in place of a node, a list of them where it has several results, or None
    where the node stays.
    """

    arriving: "Callable[[NodeDef, Any], Any]" = _as_it_is
    leaving: "Callable[[NodeDef, Any], Any]" = _as_it_is
    replacing: "Callable[[NodeDef, list[Any]], Any]" = _kept


@dataclass(frozen=True)
class Rebuilt:
    """A graph with changes, and its results by the names of the nodes."""

    graph: "tf.Graph"
    results: Mapping[str, Any]


def rebuild(graph: "GraphDef", changes: Changes) -> Rebuilt:
    """Return a graph, whose nodes stand in the order in which they are computed, with changes made to its values."""
    import tensorflow as tf

    built = tf.Graph()
    results: dict[str, list[Any]] = {}
    with built.as_default():
        # Functions that nodes call.
        tf.graph_util.import_graph_def(type(graph)(versions=graph.versions, library=graph.library), name="")
        for node in graph.node:
            inputs = [_arriving(node, results[node_of(name)][_number(name)], changes) for name in node.input]
            with built.name_scope(f"{node.name}/"):
                replaced = changes.replacing(node, inputs)
            if replaced is None:
                outputs = built.create_op(node.op, inputs, attrs=dict(node.attr), name=node.name).outputs
            else:
                outputs = replaced if isinstance(replaced, list) else [replaced]
            results[node.name] = [_leaving(node, each, changes) for each in outputs]
    return Rebuilt(built, {name: each[0] for name, each in results.items() if each})


def run(rebuilt: Rebuilt, fetched: Any, pixels: "NDArray[np.uint8]", how: "Preprocessing") -> Iterator[Any]:
    """Yield what is fetched for each batch of images, normalised."""
    size = batch_of(pixels)
    with session_of(rebuilt.graph) as session:
        for at in range(0, len(pixels), size):
            yield session.run(fetched, {f"{INPUT}:0": normalise(pixels[at : at + size], how)})


def _arriving(node: "NodeDef", tensor: Any, changes: Changes) -> Any:
    return changes.arriving(node, tensor) if _is_float(tensor) else tensor


def _leaving(node: "NodeDef", tensor: Any, changes: Changes) -> Any:
    return changes.leaving(node, tensor) if _is_float(tensor) else tensor


def _is_float(tensor: Any) -> bool:
    return bool(tensor.dtype == "float32")


def _number(name: str) -> int:
    return int(name.partition(":")[2] or 0)
