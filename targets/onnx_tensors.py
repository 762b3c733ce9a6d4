# SPDX-License-Identifier: Apache-2.0
"""What an ONNX file computes between its input and its output: a copy of it returns every value."""

from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job, Tensors
from edgeferry.targets.timing import normalised_images

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    from numpy.typing import NDArray

CPU: Final = "CPUExecutionProvider"
INPUT: Final = "image"


def tensors(job: Job) -> Tensors:
    """Return the values of an ONNX file's main graph, computed node by node as the file says; quantized ones as they are read.

    Raises:
        EdgeError: the file is damaged.
    """
    from onnx import ModelProto

    try:
        model = ModelProto.FromString(job.main_file.read_bytes())
    except Exception as error:
        raise EdgeError(
            "EF-file-damaged", f"{job.main_file}: not an ONNX file that can be read ({error}); export again"
        ) from error
    named, constant = _dequantized(model.graph)
    kept = {each.name for each in model.graph.output}
    for node in model.graph.node:
        for name in node.output:
            if name and name not in kept and name not in constant:
                kept.add(name)
                model.graph.output.add().name = name
    return Tensors(_values(_session(model, job.threads), job, named))


def _dequantized(graph: Any) -> tuple[dict[str, str], set[str]]:
    """Return the names that values have before they are quantized, by those that they have after, and those of constants.

    An activation may be left out of a file where the integers' range does the same, so that the value before is another one.
    """
    quantized = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    dequantizing = [node for node in graph.node if node.op_type == "DequantizeLinear"]
    named = {node.output[0]: quantized[node.input[0]] for node in dequantizing if node.input[0] in quantized}
    return named, {node.output[0] for node in dequantizing} - set(named)


def _session(model: Any, threads: int) -> Any:
    from onnxruntime import GraphOptimizationLevel, InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Fused nodes would not be those of the file.
    options.graph_optimization_level = GraphOptimizationLevel.ORT_DISABLE_ALL
    return InferenceSession(model.SerializeToString(), options, providers=[CPU])


def _values(session: Any, job: Job, named: "Mapping[str, str]") -> "Iterator[Mapping[str, NDArray[np.float32]]]":
    import numpy as np

    names = [each.name for each in session.get_outputs()]
    for image in normalised_images(job):
        found = zip(names, session.run(None, {INPUT: image}), strict=True)
        floats = {name: value.astype(np.float32) for name, value in found if np.issubdtype(value.dtype, np.floating)}
        # A value comes after what it is made of, so that of two with one name the one that is read is kept.
        yield {INPUT: image, **{named.get(name, name): value for name, value in floats.items()}}
