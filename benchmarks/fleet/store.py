# SPDX-License-Identifier: Apache-2.0
"""Where shards keep their results and find those of others: a folder, or a URL of an object store through fsspec.

An object is named by the digest of what its result follows from, and begins with the digest of its own bytes. It is written
whole; that two write the same one does no harm, since it is the same result.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import write_whole

# History: 1, the first.
MAGIC: Final = b"edgeferry-result 1 "
DIGEST_LENGTH: Final = 64
# The objects of one folder: a file system with 100,000 files in one is slow to list.
PREFIX: Final = 2


class Store(Protocol):
    """Keeps bytes by name."""

    def read(self, name: str) -> bytes | None:
        """Return what is kept by a name, or None."""

    def write(self, name: str, data: bytes) -> None:
        """Keep bytes by a name, all of them or none."""


@dataclass(frozen=True)
class FolderStore:
    """A folder, which may be shared by a network file system or carried from machine to machine."""

    folder: Path

    def read(self, name: str) -> bytes | None:
        """Return what is kept by a name, or None.

        Raises:
            EdgeError: the file is there and cannot be read.
        """
        path = self._path(name)
        try:
            return path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise EdgeError(
                "EF-fleet-cache", f"cannot read {path}: {error.strerror}. Name another folder with --cache."
            ) from None

    def write(self, name: str, data: bytes) -> None:
        """Keep bytes by a name, all of them or none.

        Raises:
            EdgeError: the folder cannot be written.
        """
        write_whole(self._path(name), data)

    def _path(self, name: str) -> Path:
        return self.folder / name[:PREFIX] / name


@dataclass(frozen=True)
class ObjectStore:
    """An object store or anything else that fsspec reaches by a URL, such as ``s3://bucket/results``."""

    url: str

    def read(self, name: str) -> bytes | None:
        """Return what is kept by a name, or None.

        Raises:
            EdgeError: the store cannot be reached, or refuses.
        """
        system, path = self._place(name)
        try:
            found: bytes = system.cat_file(path)
        except FileNotFoundError:
            return None
        except Exception as error:
            raise self._refused(error) from error
        return found

    def write(self, name: str, data: bytes) -> None:
        """Keep bytes by a name; object stores show no object before it is whole.

        Raises:
            EdgeError: the store cannot be reached, or refuses.
        """
        system, path = self._place(name)
        try:
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.pipe_file(path, data)
        except Exception as error:
            raise self._refused(error) from error

    def _place(self, name: str) -> tuple[Any, str]:
        from fsspec.core import url_to_fs

        try:
            found: tuple[Any, str] = url_to_fs(f"{self.url.rstrip('/')}/{name[:PREFIX]}/{name}")
        except (ValueError, ImportError) as error:
            raise self._refused(error) from error
        return found

    def _refused(self, error: Exception) -> EdgeError:
        # Each store raises errors of its own.
        why = (str(error).strip().splitlines() or [type(error).__name__])[0]
        return EdgeError("EF-fleet-cache", f"{self.url}: {why}. Expected a folder, or a URL that fsspec reads and writes.")


def store_of(named: str) -> Store:
    """Return the store that a user names: a folder, or a URL."""
    return ObjectStore(named) if "://" in named else FolderStore(Path(named).expanduser())


def sealed(payload: bytes) -> bytes:
    """Return the bytes of an object: its payload, after the payload's digest."""
    return MAGIC + hashlib.sha256(payload).hexdigest().encode() + b"\n" + payload


def opened(data: bytes) -> bytes | None:
    """Return the payload of an object, or None where it is damaged or no object."""
    head = len(MAGIC) + DIGEST_LENGTH + 1
    payload = data[head:]
    return payload if data == sealed(payload) else None
