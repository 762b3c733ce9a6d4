# SPDX-License-Identifier: Apache-2.0
"""A quantized layer of a file, whatever the file's kind, and what opens a kind of file."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Layer:
    """A quantized linear operation of a file; what is changed in its arrays is changed in the file.

    ``scales`` has one number, or one per channel; ``bias`` is None where there is none in integers, ``zero_point`` (of the
    output) where it is not quantized. ``channel_axis`` is the axis of the weights that the scales are of.
    """

    weights: "NDArray[np.int8]"
    scales: "NDArray[np.float32]"
    bias: "NDArray[np.int32] | None"
    output_scale: "NDArray[np.float32] | None"
    zero_point: "NDArray[np.integer] | None"
    channel_axis: int


@dataclass(frozen=True)
class Opener:
    """What opens files of some formats; the activations of those in ``integer`` are integers too.

    ``opened(data)`` returns the layers of a file's bytes, from the input to the output, and what returns the bytes again.
    """

    formats: frozenset[str]
    integer: frozenset[str]
    opened: Callable[[bytes], tuple[list[Layer], Callable[[], bytes]]]
