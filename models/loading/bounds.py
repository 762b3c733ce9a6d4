# SPDX-License-Identifier: Apache-2.0
"""Limits on what a model's file may declare, checked before anything is read: small files can unpack to gigabytes."""

import os
import stat
import zipfile
from pathlib import Path
from typing import Any, Final

from edgeferry.models.system.errors import EdgeError

MEBIBYTE: Final = 1 << 20
# The largest networks for images have 1.2 GB of weights; Keras writes each once.
MOST_BYTES: Final = 4096 * MEBIBYTE
# Of a configuration as JSON: ConvNeXtXLarge's has 0.5 MB.
MOST_JSON_BYTES: Final = 64 * MEBIBYTE
# Weights are not compressible; what is small may be, such as a network of zeros.
MOST_RATIO: Final = 100
SMALL_BYTES: Final = 64 * MEBIBYTE
MOST_ITEMS: Final = 100_000
# What loading may allocate: so much for Keras and TensorFlow, whose threads have stacks of 8 MiB, and so many times the weights
# (read, built, converted to float32).
LOADING_BYTES: Final = 768 * MEBIBYTE
LOADING_BYTES_PER_CORE: Final = 32 * MEBIBYTE
LOADING_TIMES: Final = 8


def check_zip(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse a zip file whose members are too many or too large when unpacked, or would be written elsewhere.

    Raises:
        EdgeError: the message names the member.
    """
    members = archive.infolist()
    if len(members) > MOST_ITEMS:
        raise _too_large(path, f"holds {len(members)} files", f"at most {MOST_ITEMS}")
    for each in members:
        if each.filename.startswith(("/", "\\")) or ".." in each.filename.replace("\\", "/").split("/") or _is_link(each):
            raise EdgeError(
                "EF-model-file-kind", f"{path}: holds {each.filename!r}, which points out of the file; expected a file of Keras."
            )
        most = MOST_JSON_BYTES if each.filename.endswith(".json") else MOST_BYTES
        if each.file_size > most:
            raise _too_large(path, f"{each.filename!r} has {_size(each.file_size)} when unpacked", f"at most {_size(most)}")
        if each.file_size > SMALL_BYTES and each.file_size > MOST_RATIO * each.compress_size:
            times = each.file_size // max(1, each.compress_size)
            raise _too_large(path, f"{each.filename!r} unpacks to {times} times its size", f"at most {MOST_RATIO} times")
    _check_sum(sum(each.file_size for each in members), path.stat().st_size, path)


def check_hdf5(file: Any, size: int, path: Path) -> None:
    """Refuse an open HDF5 file of ``size`` bytes whose arrays are too large, or are in other files.

    Raises:
        EdgeError: the message says what it declares.
    """
    import h5py

    found = {"items": 0, "bytes": 0}

    def problem_of(name: str, link: Any) -> EdgeError | None:
        found["items"] += 1
        if found["items"] > MOST_ITEMS:
            return _too_large(path, f"holds more than {MOST_ITEMS} groups and arrays", "a file of Keras")
        if isinstance(link, h5py.ExternalLink):
            return EdgeError("EF-model-file-kind", f"{path}: {name!r} is a link to another file; expected one file of Keras.")
        item = file.get(name) if isinstance(link, h5py.HardLink) else None
        if isinstance(item, h5py.Dataset):
            if item.is_virtual or item.external:
                return EdgeError(
                    "EF-model-file-kind", f"{path}: the array {name!r} is in another file; expected one file of Keras."
                )
            found["bytes"] += int(item.size or 0) * item.dtype.itemsize
        return None

    # h5py stops at the first that is not None; an exception would not come through its own code whole.
    problem = file.visititems_links(problem_of)
    if problem is not None:
        raise problem
    _check_sum(found["bytes"], size, path)


def loading_bytes(path: Path) -> int:
    """Return how much memory loading a model may take beyond what the process has: in proportion to what its file declares."""
    return LOADING_BYTES + LOADING_BYTES_PER_CORE * (os.cpu_count() or 1) + LOADING_TIMES * _declared_bytes(path)


def _declared_bytes(path: Path) -> int:
    """Return the size of a model's file, or of a folder's files, when unpacked."""
    if path.is_dir():
        return sum(each.stat().st_size for each in path.rglob("*") if each.is_file())
    if not zipfile.is_zipfile(path):
        return path.stat().st_size
    with zipfile.ZipFile(path) as archive:
        return sum(each.file_size for each in archive.infolist())


def _check_sum(declared: int, size: int, path: Path) -> None:
    if declared > MOST_BYTES:
        raise _too_large(path, f"holds {_size(declared)} when unpacked", f"at most {_size(MOST_BYTES)}")
    if declared > SMALL_BYTES and declared > MOST_RATIO * size:
        raise _too_large(path, f"unpacks to {declared // max(1, size)} times its size", f"at most {MOST_RATIO} times")


def _is_link(member: zipfile.ZipInfo) -> bool:
    return stat.S_ISLNK(member.external_attr >> 16)


def _size(count: int) -> str:
    return f"{count / MEBIBYTE:.0f} MiB"


def _too_large(path: Path, found: str, expected: str) -> EdgeError:
    return EdgeError("EF-model-too-large", f"{path}: {found}; expected {expected}.")
