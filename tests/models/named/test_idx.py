# SPDX-License-Identifier: Apache-2.0
import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeferry.models.named.idx import find_idx, read_idx
from edgeferry.models.system.errors import EdgeError


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def idx(array: np.ndarray) -> bytes:
    """Return an array of unsigned bytes as an idx file holds it."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return b"\x00\x00\x08" + bytes([array.ndim]) + sizes + array.astype(np.uint8).tobytes()


ARRAY = np.arange(24).reshape(2, 3, 4)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
def test_an_idx_file_is_read_as_it_was_written(tmp_path: Path, *, packed: bool) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(idx(ARRAY)) if packed else idx(ARRAY))
    assert (read_idx(tmp_path / "a", 3) == ARRAY).all()


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz", "a.idx3-ubyte"])
def test_an_idx_file_is_found_by_each_of_its_usual_names(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert find_idx(tmp_path, "a-idx3-ubyte") == tmp_path / name


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "begins with"),
        (idx(ARRAY[0]), "3 dimensions"),
        (idx(ARRAY)[:-1], "but holds 23 bytes"),
        (idx(ARRAY) + b"\x00", "but holds more"),
        (idx(ARRAY)[:9], "declares the shape"),
        (b"\x00\x00\x08\x03" + b"\xff" * 12, "declares the shape"),
        (gzip.compress(idx(ARRAY))[:-9], "cannot be read"),
        (b"\x1f\x8b\x08 no gzip", "cannot be read"),
    ],
    ids=["empty", "dimensions", "short", "long", "header", "huge", "cut gzip", "no gzip"],
)
def test_a_damaged_idx_file_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(EdgeError, match=message, check=coded("EF-idx")):
        read_idx(tmp_path / "a", 3)


def test_a_file_that_unpacks_to_more_than_it_declares_is_not_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(gzip.compress(idx(ARRAY) + bytes(1 << 28), 1))
    with pytest.raises(EdgeError, match="but holds more", check=coded("EF-idx")):
        read_idx(tmp_path / "a", 3)
