# SPDX-License-Identifier: Apache-2.0
"""Resizing of the last two axes; source: iOS15/image_resizing.py, and iOS16's for half_pixel_centers."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.limits import allowed
from edgeferry.targets.target import Unsupported


def upsample_nearest_neighbor(x: Array, scale_factor_height: float | Array = 1, scale_factor_width: float | Array = 1) -> Any:
    """Return each element repeated: place i takes ``floor(i * Xin / Xout)``."""
    for axis, factor in ((-2, scale_factor_height), (-1, scale_factor_width)):
        x = _nearest(x, axis, int(np.floor(np.float32(factor) * x.shape[axis])))
    return x


def resize_nearest_neighbor(x: Array, target_size_height: Array, target_size_width: Array) -> Any:
    """Return x resized: place i takes ``floor(i * Xin / Xout)``, TensorFlow's rule, from which it is converted."""
    return _nearest(_nearest(x, -2, int(target_size_height)), -1, int(target_size_width))


def upsample_bilinear(
    x: Array,
    scale_factor_height: float | Array = 1,
    scale_factor_width: float | Array = 1,
    *,
    align_corners: bool | Array = True,
    half_pixel_centers: bool | Array | None = None,
) -> Any:
    """Return x resized by linear interpolation; scales are ratios of the sizes, after rounding down."""
    half = not align_corners if half_pixel_centers is None else bool(half_pixel_centers)
    if align_corners and half:
        raise Unsupported(
            "EF-mil-unsupported", "upsample_bilinear with align_corners and half_pixel_centers is not supported by the evaluator"
        )
    mode = "STRICT_ALIGN_CORNERS" if align_corners else "UNALIGN_CORNERS" if half else "DEFAULT"
    for axis, factor in ((-2, scale_factor_height), (-1, scale_factor_width)):
        x = _linear(x, axis, int(np.floor(np.float32(factor) * x.shape[axis])), mode)
    return x


def resize_bilinear(
    x: Array, target_size_height: int | Array = 1, target_size_width: int | Array = 1, sampling_mode: str = "DEFAULT"
) -> Any:
    """Return x resized by linear interpolation between the grid points of the sampling mode."""
    return _linear(_linear(x, -2, int(target_size_height), sampling_mode), -1, int(target_size_width), sampling_mode)


def _nearest(x: Array, axis: int, size: int) -> Array:
    _check(x, axis, size)
    taken: Array = np.take(x, np.arange(size) * x.shape[axis] // size, axis=axis)
    return taken


def _linear(x: Array, axis: int, size: int, mode: str) -> Any:
    _check(x, axis, size)
    last = x.shape[axis] - 1
    points = np.clip(_points(x.shape[axis], size, mode), 0, last)
    lower = np.floor(points).astype(np.intp)
    share = (points - lower).astype(np.float32).reshape(-1, *[1] * (-1 - axis))
    below, above = np.take(x, lower, axis=axis), np.take(x, np.minimum(lower + 1, last), axis=axis)
    return below + (above - below) * share


def _check(x: Array, axis: int, size: int) -> None:
    allowed((x.size // max(1, x.shape[axis]), size), "resized image")


def _points(found: int, wanted: int, mode: str) -> Array:
    """Return the input positions of the output's elements, in float64, before clipping."""
    steps = np.arange(wanted)
    if mode == "ALIGN_CORNERS" and wanted == 1:
        return np.array([(found - 1) / 2])
    if mode in {"ALIGN_CORNERS", "STRICT_ALIGN_CORNERS"}:
        return steps * ((found - 1) / max(wanted - 1, 1))
    if mode == "DEFAULT":
        return steps * (found / wanted)
    if mode == "UNALIGN_CORNERS":
        return (steps + 0.5) * (found / wanted) - 0.5
    if mode == "OFFSET_CORNERS":
        return (steps + 0.5) * (max(1, found - 1) / wanted)
    raise Unsupported("EF-mil-unsupported", f"the sampling mode {mode!r} is not supported by the evaluator")


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    function.__name__: function
    for function in (resize_bilinear, resize_nearest_neighbor, upsample_bilinear, upsample_nearest_neighbor)
}
