# SPDX-License-Identifier: Apache-2.0
"""What a SavedModel computes between its input and its output: the values of every node of its graph, calls inlined."""

from typing import TYPE_CHECKING, Any, Final

from edgeferry.targets.target import Job, Tensors, Unsupported
from edgeferry.targets.timing import normalised_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

SIGNATURE: Final = "serving_default"
CALLS: Final = ("PartitionedCall", "StatefulPartitionedCall")


def tensors(job: Job) -> Tensors:
    """Return the values of a SavedModel's nodes, without the names of the calls that they are in.

    Raises:
        Unsupported: the file is a Keras model, whose layers are the reference itself.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    if job.artifact.kind != "savedmodel":
        raise Unsupported(
            "EF-tensors-of-keras", "a Keras file computes the reference itself: its layers have nothing to differ from"
        )
    signature = tf.saved_model.load(str(job.main_file.parent)).signatures[SIGNATURE]
    inlined = convert_variables_to_constants_v2(signature, lower_control_flow=False, aggressive_inlining=True)
    (output,) = signature.structured_outputs
    return Tensors(_values(inlined, str(output), job))


def _values(inlined: Any, output: str, job: Job) -> "Iterator[Mapping[str, NDArray[np.float32]]]":
    import tensorflow as tf

    graph = inlined.graph
    floats = [each for each in graph.get_operations() if each.outputs and each.outputs[0].dtype == tf.float32]
    fetched = {_own_name(each.name): each.outputs[0].name for each in floats if each.type not in {"Const", "Placeholder"}}
    fetched[output] = inlined.outputs[0].name
    (takes,) = (each for each in graph.inputs if each.dtype == tf.float32)
    # Not as a context: between two images the caller opens sessions of its own.
    session = tf.compat.v1.Session(graph=graph)
    try:
        for image in normalised_images(job):
            yield {"image": image, **session.run(fetched, {takes.name: image})}
    finally:
        session.close()


def _own_name(name: str) -> str:
    parts = name.split("/")
    while len(parts) > 1 and parts[0].startswith(CALLS):
        parts = parts[1:]
    return "/".join(parts)
