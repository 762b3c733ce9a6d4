# SPDX-License-Identifier: Apache-2.0
"""Poolings; source: iOS15/pool.py."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.limits import check_work
from edgeferry.targets.mil.operations.window import Window, padded, padding, steps, window_of
from edgeferry.targets.target import Unsupported


def avg_pool(  # noqa: PLR0913 - MIL's inputs
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    *,
    exclude_padding_from_average: bool | Array = False,
    ceil_mode: bool | Array = False,
) -> Any:
    """Return each window's mean; with ``exclude_padding_from_average`` padding does not count."""
    window = _window("avg_pool", kernel_sizes, strides, ceil_mode=ceil_mode)
    pads = padding(pad_type, pad, window, x.shape[2:])
    total = _slid(padded(x, pads), window, np.add)
    if not exclude_padding_from_average:
        return total / np.float32(np.prod(window.sizes))
    counts = _slid(padded(np.ones((1, 1, *x.shape[2:]), np.float32), pads), window, np.add)
    return total / counts


def max_pool(  # noqa: PLR0913 - MIL's inputs
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    *,
    ceil_mode: bool | Array = False,
) -> Any:
    """Return each window's maximum; padding is minus infinity."""
    window = _window("max_pool", kernel_sizes, strides, ceil_mode=ceil_mode)
    around = padded(x, padding(pad_type, pad, window, x.shape[2:]), -np.inf)
    return _slid(around, window, np.maximum)


def l2_pool(  # noqa: PLR0913 - MIL's inputs
    x: Array,
    kernel_sizes: Array,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    *,
    ceil_mode: bool | Array = False,
) -> Any:
    """Return the root of each window's sum of squares."""
    window = _window("l2_pool", kernel_sizes, strides, ceil_mode=ceil_mode)
    return np.sqrt(_slid(padded(np.square(x), padding(pad_type, pad, window, x.shape[2:])), window, np.add))


def _window(name: str, kernel_sizes: Array, strides: Array | None, *, ceil_mode: bool | Array) -> Window:
    if ceil_mode:
        raise Unsupported("EF-mil-unsupported", f"{name} with ceil_mode is not supported by the evaluator")
    return window_of(kernel_sizes, strides)


def _slid(x: Array, window: Window, combine: Callable[[Array, Array], Array]) -> Array:
    """Return each window's elements combined, one axis after the other."""
    for axis, (size, stride) in enumerate(zip(window.sizes, window.strides, strict=True), start=2):
        check_work(x.size * size, "pooling")
        last = (steps(x.shape[axis], size, stride) - 1) * stride + 1
        parts = (x[(slice(None),) * axis + (slice(at, at + last, stride),)] for at in range(size))
        x = _combined(parts, combine)
    return x


def _combined(parts: Any, combine: Callable[[Array, Array], Array]) -> Array:
    found: Array = next(parts).copy()
    for part in parts:
        found = combine(found, part)
    return found


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {"avg_pool": avg_pool, "l2_pool": l2_pool, "max_pool": max_pool}
