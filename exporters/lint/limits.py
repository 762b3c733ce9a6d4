# SPDX-License-Identifier: Apache-2.0
"""The limits within which an Edge TPU takes an operation that it has, checked where the file shows them.

The limits are those of the published list (coral.ai/docs/edgetpu/models-intro); op_versions/edgetpu.json records for each
operation whether a public copy of the list has the entry.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

from edgeferry.exporters.readers.tflite_graph import FileOperation, FileTensor
from edgeferry.exporters.readers.tflite_options import whole_numbers

MOST_SOFTMAX_ELEMENTS: Final = 16_000
DEPTH_MULTIPLE: Final = 4
MIN_RUNTIME: Final = {"RSQRT": 14, "SQUARED_DIFFERENCE": 14, "TRANSPOSE": 14, "TRANSPOSE_CONV": 13}


@dataclass(frozen=True)
class Limit:
    """How an operation exceeds a limit, and what to do."""

    found: str
    fix: str


def beyond(operation: FileOperation) -> Limit | None:
    """Return the limit that an operation exceeds, or None."""
    check = CHECKS.get(operation.name)
    return check(operation) if check is not None else None


def needs_runtime(operation: FileOperation) -> int | None:
    """Return the first Edge TPU runtime that runs an operation, where that is not the oldest."""
    return MIN_RUNTIME.get(operation.name)


def _no_activation(operation: FileOperation) -> Limit | None:
    if not operation.builtin.get("FusedActivationFunction"):
        return None
    return Limit("an activation is fused into it", "remove the activation, or put another layer between")


def _concatenation(operation: FileOperation) -> Limit | None:
    constants = [each for each in operation.inputs if each is not None and each.constant_bytes]
    if constants and (len(operation.inputs) != 2 or any(_is_not_zero(each) for each in constants)):
        return Limit("a constant other than zeros, or with more than one other input", "concatenate outputs of layers only")
    return _no_activation(operation)


def _is_not_zero(tensor: FileTensor) -> bool:
    zero = (tensor.zero_point or 0) % 256
    return any(byte != zero for byte in tensor.constant.tobytes())


def _dilation(operation: FileOperation) -> Limit | None:
    x, y = (operation.builtin.get(f"Dilation{side}Factor", 1) for side in "WH")
    return None if x == y else Limit(f"dilation {x} in x and {y} in y", "use the same dilation_rate in both directions")


def _dense(operation: FileOperation) -> Limit | None:
    if operation.builtin.get("WeightsFormat"):
        return Limit("its weights are shuffled for another processor", "convert again without that option")
    if any(_wide(tensor) > 1 for tensor in operation.outputs):
        return Limit("its output has more than one dimension", "use Conv2D with a kernel of 1, or Flatten before Dense")
    return None


def _wide(tensor: FileTensor) -> int:
    """Return how many dimensions are larger than 1."""
    return sum(size != 1 for size in tensor.shape)


def _softmax(operation: FileOperation) -> Limit | None:
    for tensor in operation.outputs:
        if _wide(tensor) > 1:
            return Limit("its input has more than one dimension", "use softmax only for the scores")
        if prod(tensor.shape) > MOST_SOFTMAX_ELEMENTS:
            return Limit(f"more than {MOST_SOFTMAX_ELEMENTS} elements", "end the model in its logits")
    return None


def _not_batch(operation: FileOperation) -> Limit | None:
    return Limit("it reduces over the batch", "use other axes") if 0 in _axes(operation) else None


def _mean(operation: FileOperation) -> Limit | None:
    image = operation.inputs[0] if operation.inputs else None
    last = len(image.shape) - 1 if image is not None else -1
    if image is not None and last in _axes(operation) and image.shape[last] % DEPTH_MULTIPLE:
        return Limit(f"a depth of {image.shape[last]}, not a multiple of {DEPTH_MULTIPLE}", "use a multiple of 4 channels")
    return _not_batch(operation)


def _axes(operation: FileOperation) -> tuple[int, ...]:
    """Return the axes of a reduction, a split or a pack; none where they are not constant in the file."""
    at = {"SPLIT": 0, "PACK": None}.get(operation.name, 1)
    image = operation.inputs[-1 if operation.name == "SPLIT" else 0] if operation.inputs else None
    rank = len(image.shape) if image is not None else 0
    if at is None:
        axes: tuple[int, ...] = (operation.builtin["Axis"],) if "Axis" in operation.builtin else ()
        rank += 1
    else:
        axes = _constant(operation, at)
    return tuple(axis % rank if rank else axis for axis in axes)


def _constant(operation: FileOperation, at: int) -> tuple[int, ...]:
    tensor = operation.inputs[at] if len(operation.inputs) > at else None
    return whole_numbers(tensor.constant, tensor.dtype) if tensor is not None else ()


def _pad(operation: FileOperation) -> Limit | None:
    if any(_constant(operation, 1)[:2]):
        return Limit("it pads the batch", "pad height and width only")
    return None


def _prelu(operation: FileOperation) -> Limit | None:
    alpha = operation.inputs[1] if len(operation.inputs) > 1 else None
    if alpha is None or _wide(alpha) <= 1:
        return None
    return Limit("one slope per position, not per channel", "use PReLU(shared_axes=[1, 2])")


def _strided_slice(operation: FileOperation) -> Limit | None:
    return Limit("strides other than 1", "use strides of 1") if any(step != 1 for step in _constant(operation, 3)) else None


CHECKS: Final[Mapping[str, Callable[[FileOperation], Limit | None]]] = {
    "AVERAGE_POOL_2D": _no_activation,
    "MAX_POOL_2D": _no_activation,
    "CONCATENATION": _concatenation,
    "CONV_2D": _dilation,
    "DEPTHWISE_CONV_2D": _dilation,
    "FULLY_CONNECTED": _dense,
    "SOFTMAX": _softmax,
    "MEAN": _mean,
    "PACK": _not_batch,
    "REDUCE_MAX": _not_batch,
    "REDUCE_MIN": _not_batch,
    "SPLIT": _not_batch,
    "SUM": _not_batch,
    "PAD": _pad,
    "PRELU": _prelu,
    "STRIDED_SLICE": _strided_slice,
}
