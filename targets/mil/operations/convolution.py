# SPDX-License-Identifier: Apache-2.0
"""Convolutions; source: iOS15/conv.py."""

from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from math import prod
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.limits import allowed, check_work
from edgeferry.targets.mil.operations.window import Pads, Window, padded, padding, steps, window_of

# How many floats a depthwise kernel's row works on at a time: they stay in a processor's second-level cache.
DEPTHWISE_FLOATS: Final = 320 * 1024
# How many results of a product are computed at a time: the bias is added while they are in that cache.
PRODUCT_FLOATS: Final = 256 * 1024


Activation = Callable[[Array], Array]


class Layer(NamedTuple):
    """A convolution's weights, its bias, and the activation written over its results."""

    weight: Array
    bias: Array
    over: Activation


def conv_and(  # noqa: PLR0913, PLR0917 - MIL's inputs
    over: Activation,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    strides: Array | None = None,
    pad_type: str = "valid",
    pad: Array | None = None,
    dilations: Array | None = None,
    groups: int | Array = 1,
) -> Any:
    """Return ``y[n, o, p] = bias[o] + sum over c, k of weight[o, c, k] * x[n, c of o's group, p * stride + k * dilation]``.

    x is [n, C_in, *d_in], weight [C_out, C_in / groups, *K]; 1, 2 or 3 spatial axes. ``over`` is an activation, written over each
    part of the result while that is in the processor's cache; MIL's own convolution has none.
    """
    groups, channels = int(groups), x.shape[1]
    window = window_of(weight.shape[2:], strides, dilations)
    if weight.shape[1] * groups != channels or weight.shape[0] % groups:
        shapes = f"weights of {weight.shape} in {groups} groups, but {channels} input channels"
        raise EdgeError("EF-mil-shape", f"conv has {shapes}; export it again.")
    pads = padding(pad_type, pad, window, x.shape[2:])
    depthwise = weight.shape[1] == 1 and x.ndim == 4 and weight.shape[0] == groups > 1
    each = np.zeros(len(weight), np.float32) if bias is None else bias.reshape(len(weight))
    if depthwise:
        return _depthwise(x, Layer(weight, each, over), window, pads)
    rows = weight.reshape(groups, len(weight) // groups, -1)
    return _grouped(padded(x, pads), Layer(rows, each.reshape(groups, -1, 1), over), window)


def conv_transpose(  # noqa: PLR0913, PLR0917 - MIL's inputs
    x: Array,
    weight: Array,
    bias: Array | None = None,
    pad: Array | None = None,
    output_shape: Array | None = None,
    pad_type: str = "valid",
    strides: Array | None = None,
    dilations: Array | None = None,
    groups: int | Array = 1,
) -> Any:
    """Return ``y[n, o, p * stride + k * dilation] += weight[c, o, k] * x[n, c, p]``, summed, then cropped by the padding.

    x is [n, C_in, *D_in], weight [C_in, C_out / groups, *K]. With "same" the output has ``D_in * stride`` or ``output_shape``,
    and the padding of the convolution that this transposes is cropped.
    """
    groups, spatial = int(groups), x.shape[2:]
    window = window_of(weight.shape[2:], strides, dilations)
    if weight.shape[0] != x.shape[1] or x.shape[1] % groups:
        shapes = f"weights of {weight.shape} in {groups} groups, but {x.shape[1]} input channels"
        raise EdgeError("EF-mil-shape", f"conv_transpose has {shapes}; export it again.")
    each = x.shape[1] // groups
    kernels = weight.reshape(groups, each, -1).transpose(0, 2, 1)
    allowed((x.shape[0], groups, kernels.shape[1], prod(spatial)), "conv_transpose")
    check_work(x.size * kernels.shape[1], "conv_transpose")
    shares = np.matmul(kernels, x.reshape(x.shape[0], groups, each, -1))
    shares = shares.reshape(x.shape[0], groups * weight.shape[1], *window.sizes, *spatial)
    y = _cropped(_scattered(shares, window), window, _output_sizes(output_shape, pad_type, window, spatial), pad_type, pad)
    return y if bias is None else _add_in_place(y, bias)


def _as_it_is(y: Array) -> Array:
    return y


def _grouped(x: Array, layer: Layer, window: Window) -> Array:
    """Return the convolution as one matrix product per group, weights [C_out, C_in * K] by windows [C_in * K, places]."""
    weight, batch, places = layer.weight, x.shape[0], _places(x.shape[2:], window)
    groups, filters = weight.shape[:2]
    allowed((batch, x.shape[1], prod(window.sizes), prod(places)), "conv's windows")
    allowed((batch, groups, filters, *places), "conv")
    check_work(batch * weight.size * prod(places), "conv")
    columns = _windows(x, window).reshape(batch, groups, -1, prod(places))
    y: Array = np.empty((batch, groups, filters, prod(places)), np.float32)
    width = max(256, PRODUCT_FLOATS // max(1, filters))
    for start in range(0, prod(places), width):
        part = y[..., start : start + width]
        np.matmul(weight, columns[..., start : start + width], out=part)
        part += layer.bias
        layer.over(part)
    return y.reshape(batch, groups * filters, *places)


def _windows(x: Array, window: Window) -> Array:
    """Return the input of each element of the kernel at each place: a view, [n, C_in, *K, *places]."""
    rank = len(window.sizes)
    if prod(window.extents) == 1 == prod(window.strides):
        return x
    windows = sliding_window_view(x, window.extents, axis=tuple(range(2, 2 + rank)))
    every = (slice(None), slice(None), *(slice(None, None, stride) for stride in window.strides))
    windows = windows[(*every, *(slice(None, None, dilation) for dilation in window.dilations))]
    return windows.transpose(0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))


def _depthwise(x: Array, layer: Layer, window: Window, pads: Pads) -> Array:
    """Return each channel convolved with its own kernel: a row of weights by that channel's shifted copies."""
    sizes = tuple(size + sum(pair) for size, pair in zip(x.shape[2:], pads, strict=True))
    places = _places(sizes, window)
    check_work(prod(x.shape[:2]) * prod(places) * prod(window.sizes), "conv")
    allowed((*x.shape[:2], *sizes), "conv")
    allowed((*sizes, prod(window.sizes)), "conv's windows")
    y: Array = np.empty((*x.shape[:2], *places), np.float32)
    convolved = _stepping_by_one if max(window.strides) == 1 else _stepping
    block = max(1, DEPTHWISE_FLOATS // (sizes[0] * places[1] * window.sizes[1]))
    for image, start in product(range(x.shape[0]), range(0, x.shape[1], block)):
        channels = slice(start, start + block)
        part = y[image, channels]
        summed = convolved(x[image : image + 1, channels], layer.weight[channels], window, pads)
        np.add(summed, layer.bias[channels].reshape(-1, 1, 1), out=part)
        layer.over(part)
    return y


def _stepping_by_one(x: Array, weight: Array, window: Window, pads: Pads) -> Array:
    """Return channels, [1, channels, *d_in], convolved in steps of 1: [channels, *places].

    The input is contiguous, so that a shift is one run of memory; what wraps around at a row's end falls behind the last place
    and is cut off. The last shift reads past the last row's end by less than a row, so one more row is padded.
    """
    laid_out = padded(x, ((pads[0][0], pads[0][1] + 1), pads[1]))[0]
    channels, height, columns = laid_out.shape
    rows, width = _places((height - 1, columns), window)
    channel, row, element = laid_out.strides
    down, right = window.dilations
    jumps = (channel, down * row, right * element, element)
    shifts = as_strided(laid_out, (channels, *window.sizes, rows * columns), jumps, writeable=False)
    summed = np.matmul(weight.reshape(channels, 1, -1), shifts.reshape(channels, prod(window.sizes), -1))
    y: Array = summed.reshape(channels, rows, columns)[:, :, :width]
    return y


def _stepping(x: Array, weight: Array, window: Window, pads: Pads) -> Array:
    """Return channels, [1, channels, *d_in], convolved in larger steps: [channels, *places].

    The input of a row of the kernel is laid out once per remainder of the step, every step on an axis of its own; the kernel's
    next row with that remainder reads the same data, some rows further on.
    """
    laid_out = padded(x, pads)[0]
    channels, places = len(laid_out), _places(laid_out.shape[1:], window)
    (stride, step), (down, right) = window.strides, window.dilations
    met: dict[int, Array] = {}
    summed: Array = np.zeros((), np.float32)
    for number in range(window.sizes[0]):
        skipped, remainder = divmod(number * down, stride)
        if remainder not in met:
            rows = laid_out[:, remainder::stride]
            columns: Array = np.empty((channels, window.sizes[1], rows.shape[1], places[1]), np.float32)
            for at in range(window.sizes[1]):
                columns[:, at] = rows[:, :, at * right :: step][:, :, : places[1]]
            met[remainder] = columns.reshape(channels, window.sizes[1], -1)
        first = skipped * places[1]
        share = np.matmul(weight[:, :, number], met[remainder][:, :, first : first + prod(places)])
        summed = np.add(summed, share, out=share)
    return summed.reshape(channels, *places)


def _places(sizes: tuple[int, ...], window: Window) -> tuple[int, ...]:
    return tuple(steps(size, extent, stride) for size, extent, stride in zip(sizes, window.extents, window.strides, strict=True))


def _output_sizes(output_shape: Array | None, pad_type: str, window: Window, spatial: tuple[int, ...]) -> tuple[int, ...] | None:
    if output_shape is not None:
        return tuple(map(int, output_shape))[2:]
    if pad_type == "same":
        return tuple(size * stride for size, stride in zip(spatial, window.strides, strict=True))
    return None


def _scattered(shares: Array, window: Window) -> Array:
    """Return the shares, [n, o, *K, *D_in], summed where each element of the kernel puts them: [n, o, *sizes]."""
    rank = len(window.sizes)
    spatial = shares.shape[2 + rank :]
    full = [(size - 1) * stride + extent for size, stride, extent in zip(spatial, window.strides, window.extents, strict=True)]
    y: Array = np.zeros(allowed((*shares.shape[:2], *full), "conv_transpose"), np.float32)
    every: tuple[Any, ...] = (slice(None), slice(None))
    for tap in product(*map(range, window.sizes)):
        starts = [at * dilation for at, dilation in zip(tap, window.dilations, strict=True)]
        where = tuple(
            slice(start, start + (size - 1) * stride + 1, stride)
            for start, size, stride in zip(starts, spatial, window.strides, strict=True)
        )
        y[(*every, *where)] += shares[(*every, *tap)]
    return y


def _cropped(y: Array, window: Window, sizes: tuple[int, ...] | None, pad_type: str, pad: Array | None) -> Array:
    full = y.shape[2:]
    wanted = full if sizes is None else sizes
    allowed((*y.shape[:2], *wanted), "conv_transpose")
    pads = padding(pad_type, pad, window, wanted)
    for axis, (before, after) in enumerate(pads):
        size = full[axis] - before - after if sizes is None else wanted[axis]
        missing = before + size - full[axis]
        if missing > 0:
            y = np.concatenate([y, np.zeros((*y.shape[: axis + 2], missing, *y.shape[axis + 3 :]), y.dtype)], axis=axis + 2)
        y = y[(slice(None),) * (axis + 2) + (slice(before, before + size),)]
    return y


def _add_in_place(y: Array, bias: Array) -> Array:
    y += bias.reshape(y.shape[1], *[1] * (y.ndim - 2))
    return y


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {"conv": partial(conv_and, _as_it_is), "conv_transpose": conv_transpose}
