# SPDX-License-Identifier: Apache-2.0

"""From a decoded picture, four bytes per pixel, to its channels: turned by its EXIF orientation, in the colours of the config."""

from typing import Final

from edgeferry.exporters.shipping.arithmetic.primitives import Bytes, new_bytes

GRAY: Final = 0
RGB: Final = 1
BGR: Final = 2


def upright(rgba: Bytes, width: int, height: int, orientation: int) -> Bytes:
    """Return a picture turned as its EXIF orientation, 1 to 8, says; from 5 on width and height change places."""
    turned: bool = orientation >= 5
    columns: int = height if turned else width
    rows: int = width if turned else height
    made: Bytes = new_bytes(width * height * 4)
    for row in range(rows):
        for column in range(columns):
            x: int = row if turned else column
            y: int = column if turned else row
            if orientation in {2, 3, 7, 8}:
                x = width - 1 - x
            if orientation in {3, 4, 6, 7}:
                y = height - 1 - y
            for channel in range(4):
                made[(row * columns + column) * 4 + channel] = rgba[(y * width + x) * 4 + channel]
    return made


def channels_of(rgba: Bytes, width: int, height: int, colour: int) -> Bytes:
    """Return gray (ITU-R 601-2 luma in Pillow's whole numbers), RGB or BGR; the opacity is ignored, as Pillow does."""
    count: int = 1 if colour == GRAY else 3
    made: Bytes = new_bytes(width * height * count)
    for at in range(width * height):
        red: int = rgba[at * 4]
        green: int = rgba[at * 4 + 1]
        blue: int = rgba[at * 4 + 2]
        if colour == GRAY:
            made[at] = (red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16
        else:
            made[at * 3] = blue if colour == BGR else red
            made[at * 3 + 1] = green
            made[at * 3 + 2] = red if colour == BGR else blue
    return made
