# SPDX-License-Identifier: Apache-2.0
"""Reads single fields of protobuf messages without their schema, so without the packages that have it.

Encoding: protobuf.dev/programming-guides/encoding. Damaged bytes raise ValueError.
"""

from collections.abc import Iterator
from typing import Final

VARINT: Final = 0
BYTES: Final = 2
FIXED: Final = {1: 8, 5: 4}
LONGEST_VARINT: Final = 10


def fields_of(message: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Yield the number and the value of every field: a whole number, or its bytes, not copied.

    Raises:
        ValueError: the bytes are not a message, or are cut short.
    """
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        number, kind = key >> 3, key & 7
        if kind == VARINT:
            value, at = _varint(message, at)
            yield number, value
            continue
        if kind == BYTES:
            size, at = _varint(message, at)
        elif kind in FIXED:
            size = FIXED[kind]
        else:
            raise ValueError(f"field {number} is of wire type {kind}")
        if at + size > len(message):
            raise ValueError(f"field {number} has {size} bytes at {at}, outside of {len(message)}")
        yield number, message[at : at + size]
        at += size


def messages_at(message: memoryview, number: int) -> Iterator[memoryview]:
    """Yield the bytes of every field of that number: messages, texts or bytes."""
    return (value for found, value in fields_of(message) if found == number and isinstance(value, memoryview))


def texts_by_key(entries: Iterator[memoryview]) -> dict[str, str]:
    """Return the texts of a map, or of messages with a text as field 1 and one as field 2, by the first.

    Raises:
        ValueError: an entry is no such message, or no text.
    """
    pairs = [{number: bytes(value) for number, value in fields_of(entry) if isinstance(value, memoryview)} for entry in entries]
    return {pair.get(1, b"").decode(): pair.get(2, b"").decode() for pair in pairs}


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for place, byte in enumerate(data[at : at + LONGEST_VARINT]):
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(f"the number at {at} does not end")
