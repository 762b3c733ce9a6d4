# SPDX-License-Identifier: Apache-2.0
"""Classes in another order than the config's, in what the network computes."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from edgeferry.benchmarks.selftest.fault import Fault, impossible
from edgeferry.benchmarks.selftest.graph import bias_of, head_of, set_bias, set_weights, weights_of, with_graph
from edgeferry.exporters.graph.source import Source

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef


def _with_classes(source: Source, order: Callable[[Source], Sequence[int]]) -> Source:
    """Return the classifier with its classes in another order."""
    new = list(order(source))
    if new == list(range(source.classes)):
        raise impossible("the classes are in this order already")

    def change(graph: "GraphDef") -> None:
        head = head_of(graph, source.classes)
        set_weights(graph, head, weights_of(graph, head)[..., new])
        if (bias := bias_of(graph, head)) is not None:
            set_bias(graph, head, bias[..., new])

    return with_graph(source, change)


def _exchanged(source: Source, one: float) -> list[int]:
    order = list(range(source.classes))
    at = round(one * (source.classes - 2))
    order[at], order[at + 1] = order[at + 1], order[at]
    return order


def _fault(name: str, order: Callable[[Source], Sequence[int]]) -> Fault:
    return Fault(name, "labels", partial(_with_classes, order=order))


FAULTS = (
    _fault("two labels exchanged, the first", partial(_exchanged, one=0.0)),
    _fault("labels shifted by one", lambda source: [*range(1, source.classes), 0]),
    _fault("labels sorted", lambda source: sorted(range(source.classes), key=lambda at: source.spec.labels[at])),
    _fault("two labels exchanged, in the middle", partial(_exchanged, one=0.5)),
    _fault("labels reversed", lambda source: range(source.classes)[::-1]),
    _fault("two labels exchanged, the last", partial(_exchanged, one=1.0)),
)
