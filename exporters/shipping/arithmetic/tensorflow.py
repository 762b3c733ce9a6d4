# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: PLR0913, PLR0917 - an image is its bytes, width, height and channels in all languages
"""``tf.image.resize`` without antialias for 8-bit images, rounded half to even: what models/tf_resize.py does, to the bit."""

from typing import Final

from edgeferry.exporters.shipping.arithmetic.primitives import (
    Bytes,
    Floats,
    Ints,
    above,
    below,
    half_even,
    higher,
    larger,
    lower,
    new_bytes,
    new_floats,
    new_ints,
    real,
    single,
    smaller,
    whole,
)

TF_NEAREST: Final = 0
TF_BILINEAR: Final = 1
TF_BICUBIC: Final = 2
# Weights of the bicubic filter are looked up at multiples of 1 / 1024, as in resize_bicubic_op.cc.
TABLE: Final = 1024


def tf_place(old: int, length: int, at: int, shift: float) -> float:
    """Return where the centre of a new pixel is among the old ones."""
    scale: float = single(single(real(old)) / single(real(length)))
    return single(single((real(at) + 0.5) * scale) + shift)


def tf_cubic(steps: int) -> float:
    """Return the weight of a pixel at a distance of so many 1 / 1024."""
    x: float = real(steps) / real(TABLE)
    if steps <= TABLE:
        return single((1.5 * x - 2.5) * x * x + 1.0)
    return single(((-0.5 * x + 2.5) * x - 4.0) * x + 2.0)


def tf_taps(method: int) -> int:
    """Return how many old pixels of each axis a new one is made of."""
    return 4 if method == TF_BICUBIC else method + 1


def tf_places(old: int, length: int, method: int) -> Ints:
    """Return the old pixels that each new one is made of, its taps one after the other."""
    taps: int = tf_taps(method)
    found: Ints = new_ints(length * taps)
    for at in range(length):
        if method == TF_NEAREST:
            found[at] = smaller(whole(below(tf_place(old, length, at, 0.0))), old - 1)
        elif method == TF_BILINEAR:
            place: float = tf_place(old, length, at, -0.5)
            found[2 * at] = larger(whole(below(place)), 0)
            found[2 * at + 1] = smaller(whole(above(place)), old - 1)
        else:
            first: int = whole(below(tf_place(old, length, at, -0.5))) - 1
            for tap in range(taps):
                found[4 * at + tap] = smaller(larger(first + tap, 0), old - 1)
    return found


def tf_weights(old: int, length: int, method: int) -> Floats:
    """Return a weight for each tap of each new pixel; of two taps the second one's alone counts."""
    taps: int = tf_taps(method)
    found: Floats = new_floats(length * taps)
    if method == TF_NEAREST:
        return found
    for at in range(length):
        place: float = tf_place(old, length, at, -0.5)
        part: float = single(place - below(place))
        if method == TF_BILINEAR:
            found[2 * at + 1] = part
        else:
            four: Floats = tf_cubics(old, whole(below(place)) - 1, whole(half_even(part * real(TABLE))))
            for tap in range(4):
                found[4 * at + tap] = four[tap]
    return found


def tf_cubics(old: int, first: int, offset: int) -> Floats:
    """Return the weights of a new pixel's four taps; those outside of the image have none, the others sum to 1."""
    found: Floats = new_floats(4)
    total: float = 0.0
    for tap in range(4):
        steps: int = larger(TABLE * (1 - tap) + offset, TABLE * (tap - 1) - offset)
        found[tap] = 0.0 if first + tap < 0 or first + tap >= old else tf_cubic(steps)
        total = single(total + found[tap])
    one: float = single(1.0 / total)
    for tap in range(4):
        found[tap] = single(found[tap] * one)
    return found


def tf_mixed(values: Floats, weights: Floats, at: int, method: int) -> float:
    """Return what the taps of a new pixel make."""
    if method == TF_NEAREST:
        return values[0]
    if method == TF_BILINEAR:
        return single(values[0] + single(single(values[1] - values[0]) * weights[2 * at + 1]))
    total: float = single(values[0] * weights[4 * at])
    for tap in range(1, 4):
        total = single(total + single(values[tap] * weights[4 * at + tap]))
    return total


def tf_pixel(
    data: Bytes,
    stride: int,
    step: int,
    channel: int,
    rows: Ints,
    row_weights: Floats,
    row: int,
    columns: Ints,
    weights: Floats,
    column: int,
    method: int,
) -> float:
    """Return one value of a new pixel: columns are mixed before rows, with the bicubic filter rows before columns."""
    taps: int = tf_taps(method)
    outer: Floats = new_floats(taps)
    inner: Floats = new_floats(taps)
    for one in range(taps):
        for other in range(taps):
            down: int = rows[row * taps + (other if method == TF_BICUBIC else one)]
            across: int = columns[column * taps + (one if method == TF_BICUBIC else other)]
            inner[other] = real(data[down * stride + across * step + channel])
        if method == TF_BICUBIC:
            outer[one] = tf_mixed(inner, row_weights, row, method)
        else:
            outer[one] = tf_mixed(inner, weights, column, method)
    if method == TF_BICUBIC:
        return tf_mixed(outer, weights, column, method)
    return tf_mixed(outer, row_weights, row, method)


def tf_stretch(data: Bytes, width: int, height: int, channels: int, new_width: int, new_height: int, method: int) -> Bytes:
    """Return the whole image in another size."""
    rows: Ints = tf_places(height, new_height, method)
    row_weights: Floats = tf_weights(height, new_height, method)
    columns: Ints = tf_places(width, new_width, method)
    weights: Floats = tf_weights(width, new_width, method)
    made: Bytes = new_bytes(new_width * new_height * channels)
    for row in range(new_height):
        for column in range(new_width):
            for channel in range(channels):
                value: float = tf_pixel(
                    data, width * channels, channels, channel, rows, row_weights, row, columns, weights, column, method
                )
                made[(row * new_width + column) * channels + channel] = whole(half_even(lower(higher(value, 0.0), 255.0)))
    return made


def tf_crop(data: Bytes, width: int, height: int, channels: int, new_width: int, new_height: int, method: int) -> Bytes:
    """Return the largest centred part with the new aspect, in whole pixels, as Keras's smart_resize does."""
    part_width: int = larger(smaller(width, height * new_width // new_height), 1)
    part_height: int = larger(smaller(height, width * new_height // new_width), 1)
    left: int = (width - part_width) // 2
    upper: int = (height - part_height) // 2
    part: Bytes = new_bytes(part_width * part_height * channels)
    for row in range(part_height):
        for place in range(part_width * channels):
            part[row * part_width * channels + place] = data[((upper + row) * width + left) * channels + place]
    return tf_stretch(part, part_width, part_height, channels, new_width, new_height, method)


def tf_pad(data: Bytes, width: int, height: int, channels: int, new_width: int, new_height: int, method: int) -> Bytes:
    """Return the whole image with black bars, as tf.image.resize_with_pad does."""
    ratio: float = higher(single(real(width) / real(new_width)), single(real(height) / real(new_height)))
    inner_width: float = single(real(width) / ratio)
    inner_height: float = single(real(height) / ratio)
    left: int = larger(whole(below(single(real(new_width) - inner_width) / 2.0)), 0)
    upper: int = larger(whole(below(single(real(new_height) - inner_height) / 2.0)), 0)
    columns: int = whole(below(inner_width))
    lines: int = whole(below(inner_height))
    made: Bytes = new_bytes(new_width * new_height * channels)
    if columns == 0 or lines == 0:
        return made
    inner: Bytes = tf_stretch(data, width, height, channels, columns, lines, method)
    for row in range(lines):
        for place in range(columns * channels):
            made[((upper + row) * new_width + left) * channels + place] = inner[row * columns * channels + place]
    return made
