# SPDX-License-Identifier: Apache-2.0
"""The supported operations of MIL, by name: each a function of MIL's own inputs, under MIL's own names.

Each family's module names the documentation that its arithmetic is written from, in coremltools 9.0 below
``converters/mil/mil/ops/defs``.
Arrays are float32 wherever the program says float16 or float32; the program's evaluation rounds the results.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from edgeferry.targets.mil.operations import (
    activation,
    convolution,
    elementwise,
    image,
    linear,
    normalisation,
    pooling,
    reduction,
    shape,
)

FAMILIES: Final = (activation, convolution, elementwise, image, linear, normalisation, pooling, reduction, shape)
OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    name: function for family in FAMILIES for name, function in family.OPERATIONS.items()
}
# Variants of operations that write their result over x, for an x that nothing else reads.
OVERWRITING: Final[Mapping[str, Callable[..., Any]]] = activation.OVERWRITING
# Operations whose result has memory of its own and is not a view of an input.
MAKE_THEIR_OWN: Final = frozenset(
    {"add", "avg_pool", "batch_norm", "conv", "conv_transpose", "linear", "matmul", "max_pool", "mul"}
)
