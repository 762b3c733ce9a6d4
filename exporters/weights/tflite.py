# SPDX-License-Identifier: Apache-2.0
"""The constants of a .tflite file that its operations compute with, dequantized.

A bias of 32 bits is read with the scale that kernels apply, input scale x weight scale, and not with the one written next to it
(tensorflow/lite/kernels/kernel_util.cc, GetQuantizedConvolutionMultipler).
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.readers.tflite import read_graph
from edgeferry.exporters.readers.tflite_graph import FileOperation, FileTensor
from edgeferry.exporters.weights.stored import StoredWeight, as_float32

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Operations with weights as their second input and a bias as the input named; the layouts of their weights.
LAYOUTS: Final = {"CONV_2D": "OHWI", "DEPTHWISE_CONV_2D": "1HWO", "FULLY_CONNECTED": "OI", "TRANSPOSE_CONV": "OHWI"}
BIAS_INPUT: Final = {"CONV_2D": 2, "DEPTHWISE_CONV_2D": 2, "FULLY_CONNECTED": 2, "TRANSPOSE_CONV": 3}
DATA_INPUT: Final = {"TRANSPOSE_CONV": 2}
INTEGERS: Final = ("int8", "uint8", "int16")
FLOATS: Final = ("float16", "float32", "float64")


def stored_weights(path: Path) -> Iterator[StoredWeight]:
    """Yield each constant that an operation of a .tflite file computes with, once."""
    graph = read_graph(path)
    dequantized: dict[int, FileTensor] = {
        id(each.outputs[0]): each.inputs[0]
        for each in graph.operations
        if each.name == "DEQUANTIZE" and each.inputs[0] is not None and each.inputs[0].constant_bytes
    }
    seen: set[Any] = set()
    for operation in graph.operations:
        for at, tensor in enumerate(operation.inputs):
            held = None if tensor is None else dequantized.get(id(tensor), tensor)
            if held is None or not held.constant_bytes or operation.name == "DEQUANTIZE":
                continue
            found = _read(operation, at, held, dequantized)
            if found is not None and (key := (id(held), found.of)) not in seen:
                seen.add(key)
                yield found


def _read(operation: FileOperation, at: int, tensor: FileTensor, dequantized: dict[int, FileTensor]) -> StoredWeight | None:
    weights = operation.inputs[1] if operation.name in LAYOUTS else None
    weights = None if weights is None else dequantized.get(id(weights), weights)
    is_bias = BIAS_INPUT.get(operation.name) == at
    layout = LAYOUTS.get(operation.name, "") if at == 1 else ""
    axes = layout if len(layout) == len(tensor.shape) else ""
    of = weights.name if is_bias and weights is not None else None
    if tensor.dtype in FLOATS:
        values = _numbers(tensor)
        return as_float32(tensor.name, values, "bias" if is_bias else "weight" if at == 1 and layout else "other", axes, of)
    if tensor.dtype == "int32" and is_bias and weights is not None and weights.scales:
        return _integer_bias(operation, tensor, weights)
    if tensor.dtype in INTEGERS and tensor.scales:
        return _integers(tensor, "weight" if layout else "other", axes)
    return None


def _numbers(tensor: FileTensor) -> "NDArray[Any]":
    import numpy as np

    return np.frombuffer(tensor.constant, np.dtype(tensor.dtype)).reshape(tensor.shape)


def _integers(tensor: FileTensor, role: Any, axes: str) -> StoredWeight:
    import numpy as np

    numbers = _numbers(tensor)
    shape = [1] * numbers.ndim
    if tensor.scales > 1:
        shape[tensor.axis] = tensor.scales
    scale = np.asarray(tensor.all_scales, np.float32).reshape(shape)
    zero = np.asarray(tensor.all_zero_points, np.float32)
    offset = zero.reshape(shape) if zero.size == tensor.scales else np.zeros(shape, np.float32)
    ends = np.iinfo(numbers.dtype)
    limits = ((ends.min - offset) * scale, (ends.max - offset) * scale)
    values = numbers.astype(np.float32)
    values -= offset
    values *= scale
    return StoredWeight(tensor.name, values, scale, role, axes, limits=limits)


def _integer_bias(operation: FileOperation, tensor: FileTensor, weights: FileTensor) -> StoredWeight:
    import numpy as np

    data = operation.inputs[DATA_INPUT.get(operation.name, 0)]
    scale = np.asarray(weights.all_scales, np.float64) * float((data.scale if data is not None else None) or 0)
    values = (np.frombuffer(tensor.constant, np.int32).reshape(tensor.shape) * scale).astype(np.float32)
    return StoredWeight(tensor.name, values, scale.astype(np.float32), "bias", of=weights.name)
