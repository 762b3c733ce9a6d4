# SPDX-License-Identifier: Apache-2.0
"""A classifier as an ML Program, converted by coremltools from the frozen graph, with what coremltools lacks rewritten first.

- activations that it lacks, such as exact GELU's, in those that it has; resizing and sums of products as matrix products;
- nearest-neighbour resizing by other than whole factors as matrix products, because coremltools takes other pixels;
- recurrent layers: unrolled, since loops do not run on the Neural Engine.
"""

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.graph.fold import constant_node, reachable
from edgeferry.exporters.graph.layers import lacks_operation
from edgeferry.exporters.graph.rewrites.exponentials import SPELLED
from edgeferry.exporters.graph.rewrites.moving import MIRRORED
from edgeferry.exporters.graph.rewrites.resizing import NEAREST
from edgeferry.exporters.graph.rewrites.trigonometry import HYPERBOLIC
from edgeferry.exporters.graph.rewritten import EVERYWHERE, rewritten
from edgeferry.exporters.graph.source import INPUT, Source, function_of, without_loops
from edgeferry.models.decision import MULTILABEL
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

CODE: Final = "EF-coreml-operation"
FLOAT16: Final = "float16"
FLOAT32: Final = "float32"
PROBABILITIES: Final = "probabilities"
LABEL: Final = "classLabel"
COLOUR_LAYOUTS: Final = {"rgb": "RGB", "bgr": "BGR", "gray": "GRAYSCALE"}
# coremltools 9.0's message for an operation it does not convert: the operation, and the node that has it. The exception carries
# nothing else; where the message has another form, it is passed on as it is.
LACKING: Final = re.compile(
    r"Conversion for TF op '(?P<operation>[^']+)' not implemented.*?name: \"(?P<node>[^\"]+)\"", re.DOTALL
)


def converted(source: Source, precision: str, target: str) -> Any:
    """Return the classifier as a coremltools model; the float16 one is cached, because other formats start from it.

    Raises:
        EdgeError: a layer cannot be converted; the message names it.
    """
    return _float16(source, target) if precision == FLOAT16 else _convert(source, precision, target)


@lru_cache(maxsize=1)
def _float16(source: Source, target: str) -> Any:
    return _convert(source, FLOAT16, target)


def _convert(source: Source, precision: str, target: str) -> Any:
    import coremltools as ct

    function = function_of(prepared(source), PROBABILITIES)
    try:
        return ct.convert(
            [function],
            source="tensorflow",
            convert_to="mlprogram",
            inputs=[_image_type(source)],
            outputs=[ct.TensorType(name=PROBABILITIES)],
            classifier_config=ct.ClassifierConfig(list(source.spec.labels), LABEL),
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=getattr(ct.precision, precision.upper()),
            skip_model_load=True,
        )
    except (NotImplementedError, ValueError) as error:
        raise _refusal(source, str(error)) from error


def _refusal(source: Source, message: str) -> EdgeError:
    found = LACKING.search(message)
    if found is None:
        return EdgeError(CODE, f"{source.spec.model}: coremltools cannot convert it: {message.splitlines()[0]}")
    return lacks_operation(source, CODE, "coremltools does not convert", found["operation"], found["node"])


def prepared(source: Source) -> "GraphDef":
    """Return the graph for one image, from pixels (one scale for all channels) to probabilities, in coremltools' operations."""
    import numpy as np

    graph = rewritten(without_loops(source), *EVERYWHERE, SPELLED, HYPERBOLIC, NEAREST, MIRRORED).graph_of(1)
    std = source.spec.preprocessing.std
    if len(set(std)) > 1:
        _multiply_input(graph, np.float32(std[0]) / np.asarray(std, dtype=np.float32))
    if source.output == "logits":
        node = graph.node.add(name=PROBABILITIES, op="Softmax", input=[source.output])
        node.attr["T"].type = 1
    elif source.output == MULTILABEL:
        # Core ML's dictionary of labels holds any probabilities, whether or not they sum to 1.
        node = graph.node.add(name=PROBABILITIES, op="Identity", input=[source.output])
        node.attr["T"].type = 1
    return reachable(graph, PROBABILITIES)


def _image_type(source: Source) -> Any:
    import coremltools as ct

    how = source.spec.preprocessing
    # Core ML applies one scale to all channels; the remaining factor of each channel is multiplied in the graph.
    scale = 1 / how.std[0]
    bias = [-mean * scale for mean in how.mean]
    return ct.ImageType(
        name=INPUT,
        shape=(1, *source.shape),
        scale=scale,
        bias=bias[0] if how.channels == 1 else bias,
        color_layout=getattr(ct.colorlayout, COLOUR_LAYOUTS[how.colour]),
    )


def _multiply_input(graph: "GraphDef", factors: Any) -> None:
    for node in graph.node:
        node.input[:] = ["image/by_channel" if name == INPUT else name for name in node.input]
    graph.node.append(constant_node("image/factors", factors))
    node = graph.node.add(name="image/by_channel", op="Mul", input=[INPUT, "image/factors"])
    node.attr["T"].type = 1
