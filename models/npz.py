# SPDX-License-Identifier: Apache-2.0
"""The arrays of a user's .npz file; what they declare is checked before memory is allocated for it, and nothing is unpickled."""

import io
import math
import sys
import warnings
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.loading.bounds import MEBIBYTE, MOST_BYTES, MOST_RATIO, SMALL_BYTES
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

# numpy writes 128 bytes for an array's header.
HEADER_BYTES: Final = 1 << 16


def arrays_of(path: Path, names: tuple[str, ...]) -> "tuple[dict[str, NDArray[Any]], Mapping[str, str]]":
    """Return the arrays of some names that an .npz file holds, and what it declares of all by name: '|u1 (2, 8, 8)'.

    Raises:
        EdgeError: the file is damaged or of another kind, or its arrays are too large.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            declared = {
                each.filename.removesuffix(".npy"): _declared(archive, each, path)
                for each in archive.infolist()
                if each.filename.endswith(".npy")
            }
            found = {}
            for name in set(names) & set(declared):
                with archive.open(f"{name}.npy") as member:
                    found[name] = np.lib.format.read_array(member, allow_pickle=False, max_header_size=HEADER_BYTES)
                _refuse_other_text(found[name])
    except EdgeError:
        raise
    except Exception as error:
        # numpy and zipfile raise many kinds of error for a damaged file: ValueError, SyntaxError, TokenError, SystemError.
        why = str(error) or type(error).__name__
        raise EdgeError("EF-npz", f"{path}: not an .npz file that can be read: {why}.") from error
    return found, declared


def _refuse_other_text(array: "NDArray[Any]") -> None:
    """Raise ValueError for text with numbers that no Unicode character has: Python would hold it, and fail at any use."""
    import numpy as np

    native = array.astype(array.dtype.newbyteorder("=")) if array.dtype.kind == "U" else np.empty(0, "U1")
    if np.frombuffer(native.tobytes(), np.uint32).max(initial=0) > sys.maxunicode:
        raise ValueError("a text is no Unicode")


def _declared(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> str:
    """Return type and shape of an array, for a sentence, once its size is known to be what it declares and not too large."""
    import numpy as np

    size, packed = member.file_size, member.compress_size
    if size > MOST_BYTES or (size > SMALL_BYTES and size > MOST_RATIO * packed):
        raise EdgeError(
            "EF-npz-too-large",
            f"{path}: {member.filename!r} unpacks from {packed / MEBIBYTE:.1f} to {size / MEBIBYTE:.0f} MiB; expected at most "
            f"{MOST_BYTES // MEBIBYTE} MiB, and at most {MOST_RATIO} times its size. Put the images into a folder.",
        )
    with archive.open(member) as file:
        head = io.BytesIO(file.read(HEADER_BYTES))
    version = np.lib.format.read_magic(head)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(head, max_header_size=HEADER_BYTES)
    held = size - head.tell()
    if not dtype.hasobject and (min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize != held):
        raise ValueError(f"{member.filename!r} declares {dtype} {list(shape)}, and {held} bytes follow")
    return f"{dtype} {list(shape)}"
