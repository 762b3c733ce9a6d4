# SPDX-License-Identifier: Apache-2.0
"""Reads what metadata and compiled Edge TPU files need of FlatBuffers and FlexBuffers; no read leaves the bytes it was given.

Layouts: FlatBuffers' "internals" page, and its ``flexbuffers.h``. Damaged bytes raise ValueError.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Self

FLEX_MAP: Final = 9
FLEX_BYTES: Final = (5, 25)
FLEX_WIDTHS: Final = {1: "<B", 2: "<H", 4: "<I", 8: "<Q"}
MOST_ENTRIES: Final = 4096


def value_at(data: memoryview, form: str, at: int) -> int | float:
    """Return the number of a struct format at an offset.

    Raises:
        ValueError: it is not within the bytes.
    """
    if at < 0 or at + struct.calcsize(form) > len(data):
        raise ValueError(f"offset {at} is outside of {len(data)} bytes")
    value: int | float = struct.unpack_from(form, data, at)[0]
    return value


def _whole(data: memoryview, form: str, at: int) -> int:
    return int(value_at(data, form, at))


def _part(data: memoryview, at: int, size: int) -> memoryview:
    if at < 0 or at + size > len(data):
        raise ValueError(f"{size} bytes at {at} are outside of {len(data)}")
    return data[at : at + size]


@dataclass(frozen=True)
class FlatbufferTable:
    """One FlatBuffers table; fields are read by their number in the schema, and absent ones give the default."""

    data: memoryview
    at: int

    @classmethod
    def root(cls, data: memoryview, identifier: bytes | None = None) -> Self:
        """Return the root table of the bytes; where an identifier is given, it must be theirs.

        Raises:
            ValueError: the identifier is another, or the offset leaves the bytes.
        """
        if identifier is not None and bytes(_part(data, 4, 4)) != identifier:
            raise ValueError(f"expected {identifier!r} at the fifth byte")
        return cls(data, _whole(data, "<I", 0))

    def _field(self, number: int) -> int | None:
        vtable = self.at - _whole(self.data, "<i", self.at)
        slot = 4 + 2 * number
        if slot + 2 > _whole(self.data, "<H", vtable):
            return None
        offset = _whole(self.data, "<H", vtable + slot)
        return self.at + offset if offset else None

    def _target(self, number: int) -> int | None:
        at = self._field(number)
        return None if at is None else at + _whole(self.data, "<I", at)

    def number(self, field: int, form: str = "<i", default: int = 0) -> int:
        """Return a whole number."""
        at = self._field(field)
        return default if at is None else _whole(self.data, form, at)

    def real(self, field: int) -> float:
        """Return a float32, 0 where there is none."""
        at = self._field(field)
        return 0.0 if at is None else float(value_at(self.data, "<f", at))

    def bytes(self, field: int) -> memoryview:
        """Return the bytes of a string or of a vector of bytes, not copied; no bytes where it is absent."""
        at = self._target(field)
        return self.data[:0] if at is None else _part(self.data, at + 4, _whole(self.data, "<I", at))

    def table(self, field: int) -> Self | None:
        """Return the table that a field refers to, or None."""
        at = self._target(field)
        return None if at is None else type(self)(self.data, at)

    def tables(self, field: int) -> Iterator[Self]:
        """Yield the tables of a vector."""
        for at in self._entries(field):
            yield type(self)(self.data, at)

    def entry(self, field: int, number: int) -> Self:
        """Return one table of a vector, however long that is."""
        vector = self._target(field)
        if vector is None or number >= _whole(self.data, "<I", vector):
            raise ValueError(f"field {field} has no entry {number}")
        place = vector + 4 + 4 * number
        return type(self)(self.data, place + _whole(self.data, "<I", place))

    def reals(self, field: int) -> tuple[float, ...]:
        """Return a vector of float32, empty where it is absent."""
        vector = self._target(field)
        count = 0 if vector is None else _whole(self.data, "<I", vector)
        if count > MOST_ENTRIES:
            raise ValueError(f"a vector of {count} entries; expected at most {MOST_ENTRIES}")
        return tuple(float(value_at(self.data, "<f", (vector or 0) + 4 + 4 * at)) for at in range(count))

    def parts(self, field: int) -> Iterator[memoryview]:
        """Yield the strings of a vector as bytes, not copied."""
        for at in self._entries(field):
            yield _part(self.data, at + 4, _whole(self.data, "<I", at))

    def _entries(self, field: int) -> Iterator[int]:
        vector = self._target(field)
        if vector is None:
            return
        count = _whole(self.data, "<I", vector)
        if count > MOST_ENTRIES:
            raise ValueError(f"a vector of {count} entries; expected at most {MOST_ENTRIES}")
        for place in range(vector + 4, vector + 4 + 4 * count, 4):
            yield place + _whole(self.data, "<I", place)


def flexbuffer_entry(data: memoryview, key: bytes) -> memoryview | None:
    """Return the text or bytes that a FlexBuffer map holds under a key, or None where it has no such key.

    Raises:
        ValueError: the bytes are not such a map, or the entry is of another type.
    """
    width, kind = _whole(data, "<B", len(data) - 1), _whole(data, "<B", len(data) - 2)
    if kind >> 2 != FLEX_MAP:
        raise ValueError("the root is not a map")
    at = _follow(data, len(data) - 2 - width, width)
    width = 1 << (kind & 3)
    count = _flex(data, at - width, width)
    if count > MOST_ENTRIES:
        raise ValueError(f"a map of {count} entries; expected at most {MOST_ENTRIES}")
    for number, name in enumerate(_keys(data, at, width, count)):
        if name == key:
            packed = _whole(data, "<B", at + count * width + number)
            return _flex_bytes(data, _follow(data, at + number * width, width), packed)
    return None


def _keys(data: memoryview, at: int, width: int, count: int) -> Iterator[bytes]:
    keys, key_width = _follow(data, at - 3 * width, width), _flex(data, at - 2 * width, width)
    for number in range(count):
        name = _follow(data, keys + number * key_width, key_width)
        # A key ends in a zero byte; the keys that are read here are short.
        yield bytes(_part(data, name, min(8, len(data) - name))).partition(b"\0")[0]


def _flex_bytes(data: memoryview, at: int, packed: int) -> memoryview:
    if packed >> 2 not in FLEX_BYTES:
        raise ValueError(f"the entry is of FlexBuffer type {packed >> 2}; expected bytes")
    width = 1 << (packed & 3)
    return _part(data, at, _flex(data, at - width, width))


def _flex(data: memoryview, at: int, width: int) -> int:
    if width not in FLEX_WIDTHS:
        raise ValueError(f"a FlexBuffer width of {width} bytes")
    return _whole(data, FLEX_WIDTHS[width], at)


def _follow(data: memoryview, at: int, width: int) -> int:
    return at - _flex(data, at, width)
