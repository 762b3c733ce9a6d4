# SPDX-License-Identifier: Apache-2.0
"""One constant that a file holds, as numbers, with the rounding that its type implies."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

# A bias is added to what a linear operation computes; "other" is every constant that is neither.
Role = Literal["weight", "bias", "other"]


@dataclass(frozen=True, eq=False)
class StoredWeight:
    """A constant of a file in real numbers, float32, in the file's own layout.

    ``axes`` names each axis: H, W, I (input channels), O (output channels; of a depthwise convolution all of them), 1 for an axis
    of size 1; it is empty where the operation does not say. ``step`` is the distance of two numbers that the type can represent,
    0 for float32; ``limits`` are the lowest and the highest of them, where a number beyond would be rounded to. Both broadcast to
    the values. ``palette`` holds, sorted, the only values that a palettized weight can have. ``of`` names the weights that a bias
    belongs to.
    """

    name: str
    values: "Floats"
    step: "Floats"
    role: Role = "weight"
    axes: str = ""
    of: str | None = None
    limits: "tuple[Floats, Floats] | None" = None
    palette: "Floats | None" = None


def as_float32(
    name: str, values: "NDArray[np.generic]", role: Role = "weight", axes: str = "", of: str | None = None
) -> StoredWeight:
    """Return a constant that is stored as float32, float64 or float16; of float16 the step is that of each number."""
    import numpy as np

    step = np.zeros((), np.float32)
    if values.dtype == np.float16:
        step = np.nan_to_num(np.spacing(np.abs(values)).astype(np.float32))
    return StoredWeight(name, values.astype(np.float32, copy=False), step, role, axes, of)
