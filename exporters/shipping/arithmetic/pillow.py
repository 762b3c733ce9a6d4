# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - an image is its bytes, width, height and channels in all languages
"""Resizing as Pillow does, to the bit: Resample.c, for 'nearest' Geometry.c, and ImageOps of Pillow 13."""

from typing import Final

from edgeferry.exporters.shipping.arithmetic.primitives import (
    PI,
    Bytes,
    Floats,
    Ints,
    half_even,
    higher,
    larger,
    new_bytes,
    new_floats,
    new_ints,
    real,
    sine,
    single,
    smaller,
    whole,
)

NEAREST: Final = 0
BOX: Final = 1
BILINEAR: Final = 2
BICUBIC: Final = 3
LANCZOS: Final = 4
# Weights are multiples of 2^-22: 32 bits, less 8 of a pixel and 2 that weights below 0 or above 1 may add.
PRECISION_BITS: Final = 22


def pillow_reach(kernel: int) -> float:
    """Return how many pixels from its centre a filter reads."""
    if kernel == BOX:
        return 0.5
    return real(kernel - 1)


def pillow_weight(kernel: int, x: float) -> float:
    """Return the weight of a pixel at a distance."""
    distance: float = higher(x, 0.0 - x)
    if kernel == BOX:
        return 1.0 if x > -0.5 and x <= 0.5 else 0.0
    if kernel == BILINEAR:
        return higher(1.0 - distance, 0.0)
    if kernel == BICUBIC:
        if distance < 1.0:
            return (1.5 * distance - 2.5) * distance * distance + 1.0
        return (((distance - 5.0) * distance + 8.0) * distance - 4.0) * -0.5 if distance < 2.0 else 0.0
    return pillow_sinc(x) * pillow_sinc(x / 3.0) if x >= -3.0 and x < 3.0 else 0.0


def pillow_sinc(x: float) -> float:
    """Return sin(pi x) / (pi x)."""
    return 1.0 if x == 0.0 else sine(x * PI) / (x * PI)


def pillow_first(old: int, start: float, end: float, length: int, kernel: int, at: int) -> Ints:
    """Return the first old pixel that a new one reads, and the one after the last."""
    scale: float = single(end - start) / real(length)
    reach: float = pillow_reach(kernel) * higher(scale, 1.0)
    centre: float = start + (real(at) + 0.5) * scale
    found: Ints = new_ints(2)
    found[0] = larger(whole(centre - reach + 0.5), 0)
    found[1] = smaller(whole(centre + reach + 0.5), old)
    return found


def pillow_factors(first: int, last: int, start: float, end: float, length: int, kernel: int, at: int) -> Ints:
    """Return the whole-numbered weights of the old pixels that a new one reads."""
    scale: float = single(end - start) / real(length)
    stretch: float = 1.0 / higher(scale, 1.0)
    centre: float = start + (real(at) + 0.5) * scale
    weights: Floats = new_floats(last - first)
    total: float = 0.0
    for tap in range(last - first):
        weights[tap] = pillow_weight(kernel, (real(tap + first) - centre + 0.5) * stretch)
        total += weights[tap]
    factors: Ints = new_ints(last - first)
    for tap in range(last - first):
        part: float = weights[tap] if total == 0.0 else weights[tap] / total
        factors[tap] = whole((-0.5 if part < 0.0 else 0.5) + part * real(1 << PRECISION_BITS))
    return factors


def pillow_across(
    data: Bytes, width: int, height: int, channels: int, start: float, end: float, length: int, kernel: int
) -> Bytes:
    """Return an image with another width."""
    made: Bytes = new_bytes(length * height * channels)
    for at in range(length):
        ends: Ints = pillow_first(width, start, end, length, kernel, at)
        factors: Ints = pillow_factors(ends[0], ends[1], start, end, length, kernel, at)
        for row in range(height):
            for channel in range(channels):
                total: int = 1 << (PRECISION_BITS - 1)
                for tap in range(ends[1] - ends[0]):
                    total += data[(row * width + ends[0] + tap) * channels + channel] * factors[tap]
                made[(row * length + at) * channels + channel] = smaller(larger(total >> PRECISION_BITS, 0), 255)
    return made


def pillow_down(data: Bytes, width: int, height: int, channels: int, start: float, end: float, length: int, kernel: int) -> Bytes:
    """Return an image with another height."""
    made: Bytes = new_bytes(width * length * channels)
    stride: int = width * channels
    for at in range(length):
        ends: Ints = pillow_first(height, start, end, length, kernel, at)
        factors: Ints = pillow_factors(ends[0], ends[1], start, end, length, kernel, at)
        for place in range(stride):
            total: int = 1 << (PRECISION_BITS - 1)
            for tap in range(ends[1] - ends[0]):
                total += data[(ends[0] + tap) * stride + place] * factors[tap]
            made[at * stride + place] = smaller(larger(total >> PRECISION_BITS, 0), 255)
    return made


def pillow_source(old: int, start: float, end: float, length: int) -> Ints:
    """Return the old pixel of each new one, -1 for none; summed step by step, because Pillow rounds the running sum."""
    step: float = single(end - start) / real(length)
    place: float = start + step * 0.5
    found: Ints = new_ints(length)
    for at in range(length):
        found[at] = -1 if place < 0.0 or place >= real(old) else whole(place)
        place += step
    return found


def pillow_nearest(data: Bytes, width: int, height: int, channels: int, box: Floats, new_width: int, new_height: int) -> Bytes:
    """Return the part of an image in a box with another size, without a filter; what is outside of the image is black."""
    columns: Ints = pillow_source(width, box[0], box[2], new_width)
    rows: Ints = pillow_source(height, box[1], box[3], new_height)
    made: Bytes = new_bytes(new_width * new_height * channels)
    for row in range(new_height):
        for column in range(new_width):
            if rows[row] >= 0 and columns[column] >= 0:
                for channel in range(channels):
                    source: int = (rows[row] * width + columns[column]) * channels + channel
                    made[(row * new_width + column) * channels + channel] = data[source]
    return made


def pillow_resized(
    data: Bytes, width: int, height: int, channels: int, box: Floats, new_width: int, new_height: int, kernel: int
) -> Bytes:
    """Return the part of an image in a box (left, upper, right, lower) with another size."""
    left: float = single(box[0])
    upper: float = single(box[1])
    right: float = single(box[2])
    bottom: float = single(box[3])
    if kernel == NEAREST:
        edges: Floats = new_floats(4)
        edges[0] = left
        edges[1] = upper
        edges[2] = right
        edges[3] = bottom
        return pillow_nearest(data, width, height, channels, edges, new_width, new_height)
    same_width: bool = left == 0.0 and right == real(new_width) and new_width == width
    same_height: bool = upper == 0.0 and bottom == real(new_height) and new_height == height
    if same_width and same_height:
        return data
    if same_width:
        return pillow_down(data, width, height, channels, upper, bottom, new_height, kernel)
    if same_height:
        return pillow_across(data, width, height, channels, left, right, new_width, kernel)
    # Bytes are rounded between the two passes, so their order matters.
    if height - new_height > 0 and height - new_height > (width - new_width) * 2:
        less: Bytes = pillow_down(data, width, height, channels, upper, bottom, new_height, kernel)
        return pillow_across(less, width, new_height, channels, left, right, new_width, kernel)
    narrow: Bytes = pillow_across(data, width, height, channels, left, right, new_width, kernel)
    return pillow_down(narrow, new_width, height, channels, upper, bottom, new_height, kernel)


def pillow_stretch(data: Bytes, width: int, height: int, channels: int, new_width: int, new_height: int, kernel: int) -> Bytes:
    """Return the whole image in another size."""
    box: Floats = new_floats(4)
    box[2] = real(width)
    box[3] = real(height)
    return pillow_resized(data, width, height, channels, box, new_width, new_height, kernel)


def pillow_crop(data: Bytes, width: int, height: int, channels: int, new_width: int, new_height: int, kernel: int) -> Bytes:
    """Return the largest centred part with the new aspect, as PIL.ImageOps.fit does."""
    aspect: float = real(new_width) / real(new_height)
    own: float = real(width) / real(height)
    part_width: float = aspect * real(height) if own > aspect else real(width)
    part_height: float = real(width) / aspect if own < aspect else real(height)
    box: Floats = new_floats(4)
    box[0] = (real(width) - part_width) * 0.5
    box[1] = (real(height) - part_height) * 0.5
    box[2] = box[0] + part_width
    box[3] = box[1] + part_height
    return pillow_resized(data, width, height, channels, box, new_width, new_height, kernel)


def pillow_pad(data: Bytes, width: int, height: int, channels: int, new_width: int, new_height: int, kernel: int) -> Bytes:
    """Return the whole image with black bars, as PIL.ImageOps.pad does."""
    aspect: float = real(new_width) / real(new_height)
    own: float = real(width) / real(height)
    inner_width: int = whole(half_even(own * real(new_height))) if own < aspect else new_width
    inner_height: int = whole(half_even(real(height) / real(width) * real(new_width))) if own > aspect else new_height
    made: Bytes = new_bytes(new_width * new_height * channels)
    if inner_width == 0 or inner_height == 0:
        return made
    left: int = whole(half_even(real(new_width - inner_width) * 0.5))
    upper: int = whole(half_even(real(new_height - inner_height) * 0.5))
    inner: Bytes = pillow_stretch(data, width, height, channels, inner_width, inner_height, kernel)
    for row in range(inner_height):
        for place in range(inner_width * channels):
            made[((upper + row) * new_width + left) * channels + place] = inner[row * inner_width * channels + place]
    return made
