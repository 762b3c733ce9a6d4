# SPDX-License-Identifier: Apache-2.0
"""A frozen graph of which values can be read, replaced for what reads them, and added to."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.graph.rebuild import Changes, rebuild
from edgeferry.exporters.graph.run import session_of
from edgeferry.exporters.graph.source import INPUT

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef
    from tensorflow.core.framework.node_def_pb2 import NodeDef

    Values = Mapping[str, NDArray[np.float32]]


UNCHANGED: Final = Changes()


@dataclass(frozen=True, eq=False)
class Instrumented:
    """A graph in a session; ``computed``, ``added`` and ``given`` are its tensors by the names of the nodes that can be read.

    A node computes ``computed``; what reads it gets ``given``, which is ``computed`` plus ``added`` unless it is fed.
    """

    session: Any
    output: str
    computed: dict[str, Any] = field(default_factory=dict)
    added: dict[str, Any] = field(default_factory=dict)
    given: dict[str, Any] = field(default_factory=dict)

    def values(self, images: "NDArray[np.float32]") -> "Values":
        """Return what every node computes for normalised images."""
        found: Values = self._run(self.computed, images, {})
        return found

    def value(self, name: str, images: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Return what one node computes for normalised images."""
        found: NDArray[np.float32] = self._run(self.computed[name], images, {})
        return found

    def recomputed(self, images: "NDArray[np.float32]", given: "Values") -> "Values":
        """Return what every node computes where all that it reads of the others is given."""
        fed = {self.given[name]: each for name, each in given.items()}
        found: Values = self._run({name: self.computed[name] for name in given}, images, fed)
        return found

    def scores(self, images: "NDArray[np.float32]", added: "Values") -> "NDArray[np.float32]":
        """Return the scores, [count, classes], where something is added to some values."""
        found: NDArray[np.float32] = self._run(
            self.given[self.output], images, {self.added[name]: each for name, each in added.items()}
        )
        return found

    def _run(self, fetched: Any, images: "NDArray[np.float32]", fed: dict[Any, Any]) -> Any:
        return self.session.run(fetched, {self.session.graph.get_tensor_by_name(f"{INPUT}:0"): images, **fed})


@contextmanager
def instrumented(graph: "GraphDef", names: Collection[str], output: str, changes: Changes = UNCHANGED) -> Iterator[Instrumented]:
    """Yield a graph with changes made to its values, of which those of some nodes, the output among them, can be read."""
    import tensorflow as tf

    tensors: tuple[dict[str, Any], ...] = ({}, {}, {})

    def leaving(node: "NodeDef", tensor: Any) -> Any:
        changed = changes.leaving(node, tensor)
        if node.name not in names or node.name in tensors[0]:
            return changed
        added = tf.compat.v1.placeholder_with_default(tf.zeros(()), None)
        total = changed + added
        total.set_shape(changed.shape)
        given = tf.compat.v1.placeholder_with_default(total, changed.shape)
        for place, each in zip(tensors, (changed, added, given), strict=True):
            place[node.name] = each
        return given

    built = rebuild(graph, Changes(changes.arriving, leaving, changes.replacing))
    with session_of(built.graph) as session:
        yield Instrumented(session, output, *tensors)
