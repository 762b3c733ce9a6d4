# SPDX-License-Identifier: Apache-2.0
"""Outputs that are not what the model's are said to be, and batches answered with the answer to their first image."""

from typing import Any

from edgeferry.benchmarks.selftest.fault import Fault, impossible
from edgeferry.benchmarks.selftest.graph import with_graph, with_input, with_output
from edgeferry.exporters.graph.fold import node_of
from edgeferry.exporters.graph.source import Source
from edgeferry.models.decision import MULTILABEL


def _softmax_twice(source: Source) -> Source:
    """Return the classifier with one softmax more than its output is said to have."""
    import tensorflow as tf

    return with_output(source, tf.nn.softmax)


def _softmax_missing(source: Source) -> Source:
    if source.output != "probabilities":
        raise impossible("the model has no softmax")

    def change(graph: Any) -> None:
        nodes = {node.name: node for node in graph.node}
        output = nodes[source.output]
        softmax = nodes[node_of(output.input[0])]
        if softmax.op != "Softmax":
            raise impossible("the model's last operation is no softmax")
        output.input[0] = softmax.input[0]

    return with_graph(source, change)


def _sharper(source: Source) -> Source:
    """Return the classifier with its logits doubled: the same classes, more certain."""
    import tensorflow as tf

    if source.output == "logits":
        return with_output(source, lambda scores: scores * 2.0)
    if source.output == MULTILABEL:
        return with_output(source, lambda scores: tf.square(scores) / (tf.square(scores) + tf.square(1.0 - scores)))
    return with_output(source, lambda scores: tf.square(scores) / tf.reduce_sum(tf.square(scores), axis=-1, keepdims=True))


def _first_of_batch(source: Source) -> Source:
    return with_input(source, lambda image: image * 0.0 + image[:1])


def _batch_turned(source: Source) -> Source:
    import tensorflow as tf

    return with_input(source, lambda image: tf.reverse(image, [0]))


BATCHED = frozenset({"onnx", "openvino", "savedmodel", "tfjs", "container"})
FAULTS = (
    Fault("softmax twice", "softmax", _softmax_twice),
    Fault("softmax missing", "softmax", _softmax_missing),
    Fault("logits doubled", "softmax", _sharper),
    Fault("a batch answered with its first image's answer", "batch", _first_of_batch, kinds=BATCHED, shows="elsewhere"),
    Fault("a batch answered in reverse", "batch", _batch_turned, kinds=BATCHED, shows="elsewhere"),
)
