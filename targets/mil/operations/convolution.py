# SPDX-License-Identifier: Apache-2.0
"""Convolutions; source: iOS15/conv.py."""

from collections.abc import Callable, Mapping
from itertools import product
from math import prod
from typing import Any, Final

import numpy as np
from numpy.lib.stride_tricks import as_strided, sliding_window_view

from models.errors import EdgeError
from targets.mil.arrays import Array
from targets.mil.limits import allowed, check_work
from targets.mil.operations.window import Pads, Window, padded, padding, steps, window_of

# So many shifted floats of a depthwise convolution are worked on at a time that they stay in a processor's second cache.
DEPTHWISE_FLOATS: Final = 512 * 1024
# So many results of a product are made at a time that the bias is added while they are in that cache.
PRODUCT_FLOATS: Final = 256 * 1024


def conv(  # noqa: PLR0913, PLR0917 - MIL's inputs
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

    x is [n, C_in, *d_in], weight [C_out, C_in / groups, *K]; 1, 2 or 3 spatial axes.
    """
    groups, channels = int(groups), x.shape[1]
    window = window_of(weight.shape[2:], strides, dilations)
    if weight.shape[1] * groups != channels or weight.shape[0] % groups:
        raise EdgeError(f"conv has weights of {weight.shape} in {groups} groups, its input {channels} channels.")
    pads = padding(pad_type, pad, window, x.shape[2:])
    depthwise = weight.shape[1] == 1 and x.ndim == 4 and weight.shape[0] == groups > 1
    each = np.zeros(len(weight), np.float32) if bias is None else bias.reshape(len(weight))
    if depthwise:
        return _depthwise(x, (weight, each), window, pads)
    return _grouped(padded(x, pads), (weight.reshape(groups, len(weight) // groups, -1), each.reshape(groups, -1, 1)), window)


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
    and what the convolution that this transposes would have padded is cropped.
    """
    groups, spatial = int(groups), x.shape[2:]
    window = window_of(weight.shape[2:], strides, dilations)
    if weight.shape[0] != x.shape[1] or x.shape[1] % groups:
        raise EdgeError(f"conv_transpose has weights of {weight.shape} in {groups} groups, its input {x.shape[1]} channels.")
    each = x.shape[1] // groups
    kernels = weight.reshape(groups, each, -1).transpose(0, 2, 1)
    allowed((x.shape[0], groups, kernels.shape[1], prod(spatial)), "conv_transpose")
    check_work(x.size * kernels.shape[1], "conv_transpose")
    shares = np.matmul(kernels, x.reshape(x.shape[0], groups, each, -1))
    shares = shares.reshape(x.shape[0], groups * weight.shape[1], *window.sizes, *spatial)
    y = _cropped(_scattered(shares, window), window, _output_sizes(output_shape, pad_type, window, spatial), pad_type, pad)
    return y if bias is None else _add_in_place(y, bias)


def _grouped(x: Array, layer: tuple[Array, Array], window: Window) -> Array:
    """Return the convolution as one matrix product a group, weights [C_out, C_in * K] by windows [C_in * K, places]."""
    (weight, bias), batch, places = layer, x.shape[0], _places(x.shape[2:], window)
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
        part += bias
    return y.reshape(batch, groups * filters, *places)


def _windows(x: Array, window: Window) -> Array:
    """Return what each element of the kernel meets at each place: a view, [n, C_in, *K, *places]."""
    rank = len(window.sizes)
    if prod(window.extents) == 1 == prod(window.strides):
        return x
    windows = sliding_window_view(x, window.extents, axis=tuple(range(2, 2 + rank)))
    every = (slice(None), slice(None), *(slice(None, None, stride) for stride in window.strides))
    windows = windows[(*every, *(slice(None, None, dilation) for dilation in window.dilations))]
    return windows.transpose(0, 1, *range(2 + rank, 2 + 2 * rank), *range(2, 2 + rank))


def _depthwise(x: Array, layer: tuple[Array, Array], window: Window, pads: Pads) -> Array:
    """Return each channel convolved with its own kernel: one row of weights by that channel's shifted copies.

    For each remainder of a step the input is laid out without gaps, so that a shift is one run of memory; what it wraps around
    at a row's end falls behind the last place and is cut off.
    """
    weight, bias = layer
    sizes = tuple(size + sum(pair) for size, pair in zip(x.shape[2:], pads, strict=True))
    places = _places(sizes, window)
    rows, columns = (-(-size // stride) for size, stride in zip(sizes, window.strides, strict=True))
    # Whole steps, and one more of rows: the last shift reads past the last row's end by less than a row.
    ends = ((rows + 1) * window.strides[0] - sizes[0], columns * window.strides[1] - sizes[1])
    whole = tuple((before, after + more) for (before, after), more in zip(pads, ends, strict=True))
    check_work(prod(x.shape[:2]) * prod(places) * prod(window.sizes), "conv")
    allowed((*x.shape[:2], *sizes), "conv")
    allowed((rows * columns, prod(window.sizes)), "conv's windows")
    y: Array = np.empty((*x.shape[:2], *places), np.float32)
    block = max(1, DEPTHWISE_FLOATS // (rows * columns * prod(window.sizes)))
    for image, start in product(range(x.shape[0]), range(0, x.shape[1], block)):
        channels = slice(start, start + block)
        copies = _shifted(padded(x[image : image + 1, channels], whole)[0], window, (places[0], columns))
        summed = np.matmul(weight[channels].reshape(-1, 1, copies.shape[1]), copies)
        summed = summed.reshape(-1, places[0], columns)[:, :, : places[1]]
        np.add(summed, bias[channels].reshape(-1, 1, 1), out=y[image, channels])
    return y


def _shifted(x: Array, window: Window, sizes: tuple[int, int]) -> Array:
    """Return [channels, kernel elements, places], what each element of the kernel meets at each place."""
    places, columns = sizes
    length, phases = places * columns, {}
    if max(window.strides) == 1:
        return _overlapping(x, window, length)
    copies: Array = np.empty((len(x), prod(window.sizes), length), np.float32)
    for number, tap in enumerate(product(*map(range, window.sizes))):
        (down, top), (right, left) = (
            divmod(at * dilation, stride) for at, dilation, stride in zip(tap, window.dilations, window.strides, strict=True)
        )
        if (top, left) not in phases:
            phases[top, left] = x[:, top :: window.strides[0], left :: window.strides[1]].reshape(len(x), -1)
        shift = down * columns + right
        copies[:, number] = phases[top, left][:, shift : shift + length]
    return copies


def _overlapping(x: Array, window: Window, length: int) -> Array:
    """Return the shifted copies of a window that steps by 1, in one go.

    The last one ends at ``rows * columns + extent - 1``, within the row that is laid out beyond the last.
    """
    flat = x.reshape(len(x), -1)
    channel, element = flat.strides
    down, right = window.dilations
    jumps = (channel, down * x.shape[2] * element, right * element, element)
    return as_strided(flat, (len(x), *window.sizes, length), jumps, writeable=False).reshape(len(x), -1, length)


def _places(sizes: tuple[int, ...], window: Window) -> tuple[int, ...]:
    return tuple(steps(size, extent, stride) for size, extent, stride in zip(sizes, window.extents, window.strides, strict=True))


def _output_sizes(output_shape: Array | None, pad_type: str, window: Window, spatial: tuple[int, ...]) -> tuple[int, ...] | None:
    if output_shape is not None:
        return tuple(map(int, output_shape))[2:]
    if pad_type == "same":
        return tuple(size * stride for size, stride in zip(spatial, window.strides, strict=True))
    return None


def _scattered(shares: Array, window: Window) -> Array:
    """Return the shares, [n, o, *K, *D_in], added where each element of the kernel puts them: [n, o, *sizes]."""
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


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {"conv": conv, "conv_transpose": conv_transpose}
