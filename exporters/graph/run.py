# SPDX-License-Identifier: Apache-2.0
"""Runs a frozen graph as it stands."""

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    import tensorflow as tf
    from numpy.typing import NDArray
    from tensorflow.core.framework.graph_pb2 import GraphDef


@contextmanager
def running(graph: "GraphDef", output: str) -> "Iterator[Callable[[NDArray[np.float32]], NDArray[np.float32]]]":
    """Yield the function from normalised images, [count, height, width, channels], to scores, [count, classes]."""
    import tensorflow as tf

    from edgeferry.exporters.graph.source import INPUT

    with tf.Graph().as_default() as whole:
        tf.graph_util.import_graph_def(graph, name="")
    with session_of(whole) as session:
        yield lambda images: session.run(f"{output}:0", {f"{INPUT}:0": images})


def session_of(graph: "tf.Graph") -> Any:
    """Return a session that fuses nothing: TensorFlow has no grouped convolution that is fused with what follows."""
    import tensorflow as tf
    from tensorflow.core.protobuf.rewriter_config_pb2 import RewriterConfig

    config = tf.compat.v1.ConfigProto()
    config.graph_options.rewrite_options.remapping = RewriterConfig.OFF
    return tf.compat.v1.Session(graph=graph, config=config)
