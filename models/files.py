# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent, and the digests they are known by."""

import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from models.errors import EdgeError


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Return every file below a folder, sorted, hidden ones left out."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(found)


def digest_of_files(paths: Iterable[Path], folder: Path) -> str:
    """Return one digest of files: of their names relative to ``folder`` and their contents."""
    return digest([[path.relative_to(folder).as_posix(), sha256_of(path)] for path in paths])


def digest_of_code(*packages: str) -> str:
    """Return one digest of the Python modules of packages of this house, so that changed code makes nothing stale pass."""
    house = Path(__file__).parent.parent
    paths = [path for package in packages for path in sorted((house / package).glob("*.py"))]
    return digest_of_files(paths, house)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file beside its place and rename it there, so that no reader ever sees half of it."""
    partial = path.with_name(f".{path.name}.partial")
    with told_as_edge_error(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data.encode() if isinstance(data, str) else data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes ``path``'s place when the block ends well and vanishes when it does not.

    Raises:
        EdgeError: the place cannot be written (read-only, full).
    """
    partial = path.with_name(f".{path.name}.partial")
    with told_as_edge_error(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        with told_as_edge_error(path):
            yield partial
            _swap(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(partial: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    try:
        partial.rename(path)
    except OSError:
        if old.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def told_as_edge_error(path: Path) -> Iterator[None]:
    """Turn an operating system's refusal to write into a message that names the place."""
    try:
        yield
    except OSError as error:
        if error.errno is None or error.strerror is None:
            raise
        message = f"cannot write {path}: {error.strerror}. Free some space, or name another folder with --build."
        raise EdgeError(message) from error
