# SPDX-License-Identifier: Apache-2.0
"""Forecasts how many bytes of parameters an Edge TPU keeps on its chip, and how many are sent to it for every image.

The compiler lays weights out for the chip, which takes more bytes than the file has. The rule below was fitted to compiled
files: four MobileNets and a DeepLab of Google's test data within 2 %, two Dense layers of compiler 16.0 to the byte:

    convolution, Dense    kernel height * width * inputs * outputs, both in multiples of 16, and 8 bytes per output
    depthwise             4 bytes per weight, channels in multiples of 128, and 8 bytes per channel

The chip has 8 MiB for parameters, the executable and the activations between operations. How much the last two take is not
published: in public logs of the compiler (google-coral/edgetpu issues 60, 427, 463, 518, 572) 7.7 MiB remain for a small model,
6.9 and 7.2 for larger ones, but 1.9 and 1.1 for two others. So the bytes of a model's parameters are known to a few percent; that
they fit is likely below 6 MiB, and an upper bound everywhere. Activations may be cut into tiles, so what is sent is
known as a range: with all activations of the largest operation on the chip at once, or with none. The rule does not cover
recurrent layers: a small LSTM takes more than twice as much.
"""

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeferry.exporters.readers.tflite_graph import FileOperation, FileTensor

CHIP_BYTES: Final = 8 * 2**20
# 85 to 366 kB in compiled classifiers.
EXECUTABLE_BYTES: Final = 256 * 2**10
CHANNELS: Final = 16
DEPTHWISE_CHANNELS: Final = 128
DEPTHWISE_WEIGHT_BYTES: Final = 4
OUTPUT_BYTES: Final = 8
RECURRENT: Final = frozenset({"UNIDIRECTIONAL_SEQUENCE_LSTM", "UNIDIRECTIONAL_SEQUENCE_RNN", "LSTM", "RNN", "SVDF"})


@dataclass(frozen=True)
class Memory:
    """Bytes of parameters that stay on the chip, and those that are sent for every image, at most and at least."""

    on_chip: int
    off_chip: int
    least_off_chip: int = 0


def memory(operations: "Iterable[FileOperation]") -> Memory | None:
    """Return where the parameters of mapped operations will be, in the order they run: those that do not fit are sent.

    None where an operation is recurrent.
    """
    mapped = list(operations)
    if any(each.name in RECURRENT for each in mapped):
        return None
    sizes, room = [laid_out_bytes(each) for each in mapped], CHIP_BYTES - EXECUTABLE_BYTES
    flowing = max((_flowing_bytes(each) for each in mapped), default=0)
    on_chip, off_chip = _placed(sizes, max(0, room - flowing))
    return Memory(on_chip, off_chip, _placed(sizes, room)[1])


def _placed(sizes: "Iterable[int]", room: int) -> tuple[int, int]:
    """Return how many bytes are kept on the chip and how many are sent."""
    on_chip = off_chip = 0
    for size in sizes:
        # Kept whole or sent whole: compiler 16.0 keeps nothing of a Dense layer of 64 MB on an empty chip.
        if on_chip + size <= room:
            on_chip += size
        else:
            off_chip += size
    return on_chip, off_chip


def laid_out_bytes(operation: "FileOperation") -> int:
    """Return how many bytes an operation's parameters take in the chip's layout."""
    weights = operation.inputs[1] if len(operation.inputs) > 1 else None
    if weights is None or not weights.constant_bytes:
        return 0
    if operation.name in {"CONV_2D", "FULLY_CONNECTED"} and len(weights.shape) > 1:
        outputs = _up(weights.shape[0], CHANNELS)
        return outputs * (prod(weights.shape[1:-1]) * _up(weights.shape[-1], CHANNELS) + OUTPUT_BYTES)
    if operation.name == "DEPTHWISE_CONV_2D" and len(weights.shape) == 4:
        channels = _up(weights.shape[-1], DEPTHWISE_CHANNELS)
        return channels * (prod(weights.shape[:-1]) * DEPTHWISE_WEIGHT_BYTES + OUTPUT_BYTES)
    return sum(each.constant_bytes for each in operation.inputs if each is not None and each.scales)


def _flowing_bytes(operation: "FileOperation") -> int:
    """Return the bytes of an operation's inputs and outputs; the chip needs at least that at once."""
    return sum(_bytes(tensor) for tensor in operation.tensors if not tensor.constant_bytes)


def _bytes(tensor: "FileTensor") -> int:
    return prod(map(abs, tensor.shape))


def _up(size: int, multiple: int) -> int:
    return -(-size // multiple) * multiple
