# SPDX-License-Identifier: Apache-2.0
"""The limits within which an Edge TPU takes an operation that it has, checked where the file tells.

The limits are those of the published list (coral.ai/docs/edgetpu/models-intro); op_versions/edgetpu.json says of each operation
whether a public copy of the list holds the entry.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Final

from edgeferry.exporters.readers.tflite import Operation, Tensor
from edgeferry.exporters.readers.tflite_options import whole_numbers

MOST_SOFTMAX_ELEMENTS: Final = 16_000
DEPTH_MULTIPLE: Final = 4
MIN_RUNTIME: Final = {"RSQRT": 14, "SQUARED_DIFFERENCE": 14, "TRANSPOSE": 14, "TRANSPOSE_CONV": 13}


@dataclass(frozen=True)
class Limit:
    """What was found beyond a limit, and what to do."""

    found: str
    fix: str


def beyond(operation: Operation) -> Limit | None:
    """Return the limit of its own that an operation is beyond, or None."""
    check = CHECKS.get(operation.name)
    return check(operation) if check is not None else None


def needs_runtime(operation: Operation) -> int | None:
    """Return the Edge TPU runtime from which on an operation is mapped, where that is not the first."""
    return MIN_RUNTIME.get(operation.name)


def _no_activation(operation: Operation) -> Limit | None:
    if not operation.builtin.get("FusedActivationFunction"):
        return None
    return Limit("an activation is fused into it", "take the activation away, or put another layer between")


def _concatenation(operation: Operation) -> Limit | None:
    constants = [each for each in operation.inputs if each is not None and each.constant_bytes]
    if constants and (len(operation.inputs) != 2 or any(_is_not_zero(each) for each in constants)):
        return Limit("a constant other than zeros, or beside more than one other input", "join only what layers answer")
    return _no_activation(operation)


def _is_not_zero(tensor: Tensor) -> bool:
    zero = (tensor.zero_point or 0) % 256
    return any(byte != zero for byte in tensor.constant.tobytes())


def _dilation(operation: Operation) -> Limit | None:
    x, y = (operation.builtin.get(f"Dilation{side}Factor", 1) for side in "WH")
    return None if x == y else Limit(f"dilation {x} in x and {y} in y", "take the same dilation_rate in both directions")


def _dense(operation: Operation) -> Limit | None:
    if operation.builtin.get("WeightsFormat"):
        return Limit("its weights are shuffled for another processor", "convert anew, without that option")
    if any(_wide(tensor) > 1 for tensor in operation.outputs):
        return Limit("its answer has more than one dimension", "take Conv2D with a kernel of 1, or flatten before Dense")
    return None


def _wide(tensor: Tensor) -> int:
    """Return how many dimensions are larger than 1."""
    return sum(size != 1 for size in tensor.shape)


def _softmax(operation: Operation) -> Limit | None:
    for tensor in operation.outputs:
        if _wide(tensor) > 1:
            return Limit("its input has more than one dimension", "keep softmax for the scores")
        if prod(tensor.shape) > MOST_SOFTMAX_ELEMENTS:
            return Limit(f"more than {MOST_SOFTMAX_ELEMENTS} elements", "end the model in its logits")
    return None


def _not_batch(operation: Operation) -> Limit | None:
    return Limit("it works over the batch", "work over other dimensions") if 0 in _axes(operation) else None


def _mean(operation: Operation) -> Limit | None:
    image = operation.inputs[0] if operation.inputs else None
    last = len(image.shape) - 1 if image is not None else -1
    if image is not None and last in _axes(operation) and image.shape[last] % DEPTH_MULTIPLE:
        return Limit(f"a depth of {image.shape[last]}, no multiple of {DEPTH_MULTIPLE}", "take a multiple of 4 channels")
    return _not_batch(operation)


def _axes(operation: Operation) -> tuple[int, ...]:
    """Return the dimensions that a reduction, a split or a pack works over; none where the file does not tell."""
    at = {"SPLIT": 0, "PACK": None}.get(operation.name, 1)
    image = operation.inputs[-1 if operation.name == "SPLIT" else 0] if operation.inputs else None
    rank = len(image.shape) if image is not None else 0
    if at is None:
        axes: tuple[int, ...] = (operation.builtin["Axis"],) if "Axis" in operation.builtin else ()
        rank += 1
    else:
        axes = _constant(operation, at)
    return tuple(axis % rank if rank else axis for axis in axes)


def _constant(operation: Operation, at: int) -> tuple[int, ...]:
    tensor = operation.inputs[at] if len(operation.inputs) > at else None
    return whole_numbers(tensor.constant, tensor.dtype) if tensor is not None else ()


def _pad(operation: Operation) -> Limit | None:
    if any(_constant(operation, 1)[:2]):
        return Limit("it pads the batch", "pad height and width alone")
    return None


def _prelu(operation: Operation) -> Limit | None:
    alpha = operation.inputs[1] if len(operation.inputs) > 1 else None
    if alpha is None or _wide(alpha) <= 1:
        return None
    return Limit("a slope for every place, not every channel", "take PReLU(shared_axes=[1, 2])")


def _strided_slice(operation: Operation) -> Limit | None:
    return Limit("strides other than 1", "take every place") if any(step != 1 for step in _constant(operation, 3)) else None


CHECKS: Final[Mapping[str, Callable[[Operation], Limit | None]]] = {
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
