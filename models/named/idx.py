# SPDX-License-Identifier: Apache-2.0
"""Reads idx files, the format of MNIST and its relatives, packed with gzip or not; no more than a file declares, and bounded."""

import gzip
import math
import zlib
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final

from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Two zero bytes, 8 for unsigned bytes, and the number of dimensions; then each dimension in 4 bytes, most significant first.
UNSIGNED_BYTES: Final = b"\x00\x00\x08"
MOST_BYTES: Final = 1 << 28
GZIP: Final = b"\x1f\x8b"


def find_idx(folder: Path, name: str) -> Path | None:
    """Return an idx file in a folder, packed or not, or None; '-' before 'idx' is a dot in some copies."""
    forms = (name, name.replace("-idx", ".idx"))
    return next((path for form in forms for end in ("", ".gz") if (path := folder / f"{form}{end}").is_file()), None)


def read_idx(path: Path, dimensions: int) -> "NDArray[np.uint8]":
    """Return the array of unsigned bytes in an idx file.

    Raises:
        EdgeError: it is no such file, has another number of dimensions, is cut short or longer than it declares, or too large.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(len(GZIP)) == GZIP
            raw.seek(0)
            if packed:
                with gzip.open(raw) as unpacked:
                    return _read(path, unpacked, dimensions)
            return _read(path, raw, dimensions)
    except (OSError, EOFError, zlib.error) as error:
        raise EdgeError("EF-idx", f"{path}: cannot be read: {error}.") from None


def _read(path: Path, file: "IO[bytes] | gzip.GzipFile", dimensions: int) -> "NDArray[np.uint8]":
    import numpy as np

    head = file.read(4)
    if head != UNSIGNED_BYTES + bytes([dimensions]):
        raise EdgeError(
            "EF-idx", f"{path}: begins with {head!r}; expected an idx file of unsigned bytes in {dimensions} dimensions."
        )
    sizes = file.read(4 * dimensions)
    shape = tuple(int.from_bytes(sizes[at : at + 4], "big") for at in range(0, len(sizes), 4))
    count = math.prod(shape)
    if len(shape) != dimensions or not 0 < count <= MOST_BYTES:
        raise EdgeError("EF-idx", f"{path}: declares the shape {list(shape)}; expected 1 to {MOST_BYTES} bytes.")
    data = file.read(count + 1)
    if len(data) != count:
        found = "more" if len(data) > count else f"{len(data)} bytes"
        raise EdgeError("EF-idx", f"{path}: declares the shape {list(shape)}, {count} bytes, but holds {found}.")
    array: NDArray[np.uint8] = np.frombuffer(data, np.uint8).reshape(shape)
    return array
