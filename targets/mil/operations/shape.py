# SPDX-License-Identifier: Apache-2.0
"""Shapes, slices and their order; source: iOS15/tensor_transformation.py, iOS15/tensor_operation.py, iOS15/scatter_gather.py."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.limits import allowed
from edgeferry.targets.target import Unsupported

PAD_MODES: Final = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}


def concat(values: tuple[Array, ...], axis: Array, *, interleave: bool | Array = False) -> Any:
    """Return the values one after the other along an axis; interleaved, one slice of each at a time."""
    allowed((sum(value.size for value in values),), "concat")
    if not interleave:
        return np.concatenate(values, axis=int(axis))
    at = int(axis) % values[0].ndim
    stacked = np.stack(values, axis=at + 1)
    return stacked.reshape(*values[0].shape[:at], -1, *values[0].shape[at + 1 :])


def stack(values: tuple[Array, ...], axis: Array) -> Any:
    """Return the values side by side along a new axis."""
    allowed((sum(value.size for value in values),), "stack")
    return np.stack(values, axis=int(axis))


def split(x: Array, axis: Array, num_splits: Array | None = None, split_sizes: Array | None = None) -> tuple[Array, ...]:
    """Return x in parts along an axis: ``num_splits`` of one size, or of the sizes given."""
    where = int(np.asarray(num_splits)) if split_sizes is None else np.cumsum(split_sizes)[:-1]
    if split_sizes is None and not 0 < where <= x.shape[int(axis)]:
        raise EdgeError("EF-mil-shape", f"split makes {where} parts of an axis of {x.shape[int(axis)]}; export it again.")
    return tuple(np.split(x, where, axis=int(axis)))


def expand_dims(x: Array, axes: Array) -> Any:
    """Return x with axes of size 1 inserted."""
    return np.expand_dims(x, tuple(int(axis) for axis in axes))


def squeeze(x: Array, axes: Array | None = None) -> Any:
    """Return x without those of the axes, or of all, that have size 1."""
    chosen = range(x.ndim) if axes is None else [int(axis) % x.ndim for axis in axes]
    return x.reshape([size for axis, size in enumerate(x.shape) if axis not in chosen or size != 1])


def reshape(x: Array, shape: Array) -> Any:
    """Return the same elements in another shape; 0 keeps x's size, -1 is the remainder."""
    return x.reshape([int(size) or x.shape[axis] for axis, size in enumerate(shape)])


def flatten2d(x: Array, axis: int | Array = 1) -> Any:
    """Return x as a matrix: the axes before ``axis``, and the others."""
    return x.reshape(int(np.prod(x.shape[: int(axis)])), -1)


def transpose(x: Array, perm: Array) -> Any:
    """Return x with its axes in another order; negative ones count from the end."""
    return x.transpose([int(axis) % x.ndim for axis in perm])


def reverse(x: Array, axes: Array | None = None) -> Any:
    """Return x reversed along the axes, or along all."""
    return np.flip(x, None if axes is None else tuple(int(axis) for axis in axes))


def slice_by_index(  # noqa: PLR0913, PLR0917 - MIL's inputs
    x: Array,
    begin: Array,
    end: Array,
    stride: Array | None = None,
    begin_mask: Array | None = None,
    end_mask: Array | None = None,
    squeeze_mask: Array | None = None,
) -> Any:
    """Return ``x[begin:end:stride]`` on each axis; a masked begin or end is left out, a squeezed axis is indexed by begin."""
    none = [False] * x.ndim
    masks = zip(*(none if mask is None else mask for mask in (begin_mask, end_mask, squeeze_mask)), strict=True)
    steps = [1] * x.ndim if stride is None else list(map(int, stride))
    index: list[int | slice] = []
    for axis, (no_begin, no_end, alone) in enumerate(masks):
        first, last = int(begin[axis]), int(end[axis])
        part = slice(None if no_begin else first, None if no_end else last, steps[axis])
        index.append((0 if no_begin else first) if alone else part)
    return x[tuple(index)]


def slice_by_size(x: Array, begin: Array, size: Array) -> Any:
    """Return ``x[begin : begin + size]`` on each axis; a size of -1 reaches to the end."""
    starts = [int(first) % count if first < 0 else int(first) for first, count in zip(begin, x.shape, strict=True)]
    return x[tuple(slice(first, None if count < 0 else first + int(count)) for first, count in zip(starts, size, strict=True))]


def pad(x: Array, pad: Array, mode: str = "constant", constant_val: float | Array = 0.0) -> Any:
    """Return x with a constant, its mirror image or its edge around its last axes; pairs of before and after."""
    if mode not in PAD_MODES:
        raise Unsupported("EF-mil-unsupported", f"pad has the mode {mode!r}, which the evaluator does not support")
    pairs = [(int(before), int(after)) for before, after in pad.reshape(-1, 2)]
    widths = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    allowed((size + sum(pair) for size, pair in zip(x.shape, widths, strict=True)), "pad")
    if mode == "constant":
        return np.pad(x, widths, constant_values=float(constant_val))
    return np.pad(x, widths, PAD_MODES[mode])  # type: ignore[call-overload]


def tile(x: Array, reps: Array) -> Any:
    """Return x repeated along each axis."""
    allowed((x.size, *reps), "tile")
    return np.tile(x, tuple(map(int, reps)))


def gather(
    x: Array,
    indices: Array,
    axis: int | Array = 0,
    batch_dims: int | Array = 0,
    *,
    validate_indices: bool | Array = False,  # noqa: ARG001 - numpy always validates
) -> Any:
    """Return x's slices along an axis, in the order of the indices."""
    if batch_dims:
        raise Unsupported("EF-mil-unsupported", "gather with batch_dims is not supported by the evaluator")
    allowed((x.size // max(1, x.shape[int(axis)]), indices.size), "gather")
    return np.take(x, indices, axis=int(axis))


def depth_to_space(x: Array, block_size: Array) -> Any:
    """Return channels laid out as blocks of pixels; the position in the block comes before the channel."""
    size = int(block_size)
    n, channels, height, width = x.shape
    blocks = x.reshape(n, size, size, channels // size**2, height, width)
    return blocks.transpose(0, 3, 4, 1, 5, 2).reshape(n, channels // size**2, height * size, width * size)


def space_to_depth(x: Array, block_size: Array) -> Any:
    """Return blocks of pixels laid out as channels; the position in the block comes before the channel."""
    size = int(block_size)
    n, channels, height, width = x.shape
    blocks = x.reshape(n, channels, height // size, size, width // size, size)
    return blocks.transpose(0, 3, 5, 1, 2, 4).reshape(n, channels * size**2, height // size, width // size)


def space_to_batch(x: Array, block_shape: Array, paddings: Array) -> Any:
    """Return the pixels of each remainder of the block's sizes as an image of its own, after padding with zeros."""
    down, right = map(int, block_shape)
    widths = [(int(before), int(after)) for before, after in paddings]
    allowed((size + sum(pair) for size, pair in zip(x.shape[2:], widths, strict=True)), "space_to_batch")
    around = np.pad(x, ((0, 0), (0, 0), *widths))
    n, channels, height, width = around.shape
    blocks = around.reshape(n, channels, height // down, down, width // right, right)
    return blocks.transpose(3, 5, 0, 1, 2, 4).reshape(-1, channels, height // down, width // right)


def batch_to_space(x: Array, block_shape: Array, crops: Array) -> Any:
    """Return images interleaved to one, the inverse of space_to_batch, then cropped."""
    down, right = map(int, block_shape)
    _, channels, height, width = x.shape
    blocks = x.reshape(down, right, -1, channels, height, width).transpose(2, 3, 4, 0, 5, 1)
    whole = blocks.reshape(-1, channels, height * down, width * right)
    (top, bottom), (left, beyond) = ((int(before), int(after)) for before, after in crops)
    return whole[:, :, top : height * down - bottom, left : width * right - beyond]


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    function.__name__: function
    for function in (
        batch_to_space,
        concat,
        depth_to_space,
        expand_dims,
        flatten2d,
        gather,
        pad,
        reshape,
        reverse,
        slice_by_index,
        slice_by_size,
        space_to_batch,
        space_to_depth,
        split,
        squeeze,
        stack,
        tile,
        transpose,
    )
}
