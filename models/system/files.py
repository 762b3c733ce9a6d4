# SPDX-License-Identifier: Apache-2.0
"""Files that are whole or absent, and the digests they are known by."""

import errno
import hashlib
import json
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, TypeVar

from edgeferry.models.system.errors import EdgeError

Record = TypeVar("Record")
# Returns the sha256 of a file's bytes, in hex: sha256_of, or one that remembers.
Sha256 = Callable[[Path], str]

# How the names end of what is being written, and of what is being replaced.
PARTIAL: Final = ".partial"
# The log of a format that is being written.
UNFINISHED_LOG: Final = ".log"
OLD: Final = ".old"
FULL: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
REFUSED: Final = (*FULL, errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's bytes, in hex.

    Raises:
        OSError: it cannot be read.
        EdgeError: it is a pipe or a device, which might never end.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise EdgeError("EF-file-kind", f"{path}: is a pipe, a device or a folder; expected a file. Remove it.")
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Return the sha256 of a value's canonical JSON, in hex."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # A file name may hold bytes that are no text.
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


def files_below(folder: Path) -> list[Path]:
    """Return every file below a folder, sorted, hidden ones and what Python compiles for itself left out."""
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".") and name != "__pycache__"]
        found += [Path(root, name) for name in names if not name.startswith(".")]
    return sorted(found)


def digest_of_files(paths: Iterable[Path], folder: Path, sha256: Sha256 = sha256_of) -> str:
    """Return one digest of files: of their names below ``folder`` and their contents, as ``sha256`` returns those."""
    below = len(str(folder)) + 1
    return digest([[str(path)[below:], sha256(path)] for path in paths])


def content_sha256(path: Path, sha256: Sha256 = sha256_of) -> str:
    """Return the digest of a file, or of all files below a folder."""
    return digest_of_files(files_below(path), path, sha256) if path.is_dir() else sha256(path)


def modules_below(package: Path) -> list[Path]:
    """Return the modules of a package and its packages; what is no package, such as node_modules, is not walked."""
    inner = [folder for folder in sorted(package.iterdir()) if (folder / "__init__.py").is_file()]
    return [*sorted(package.glob("*.py")), *(path for folder in inner for path in modules_below(folder))]


def partial_of(path: Path) -> Path:
    """Return a temporary name for a file or folder while it is being written, another one at every call."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}{PARTIAL}")


def sweep(folder: Path, spared: str = "") -> None:
    """Remove below a folder what writers left that were killed, and put back what they had only moved aside.

    Nobody else may be writing there, except in a folder below it of the name ``spared``.
    """
    for root, folders, names in os.walk(folder):
        for name in (*folders, *names):
            path = Path(root, name)
            if not name.startswith("."):
                continue
            if name.endswith(OLD) and not (whole := path.with_name(name.removeprefix(".").removesuffix(OLD))).exists():
                path.rename(whole)
            elif name.endswith((PARTIAL, OLD, UNFINISHED_LOG)):
                _remove(path)
        folders[:] = [name for name in folders if not name.startswith(".") and name != spared]


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def write_whole(path: Path, data: bytes | str) -> None:
    """Write a file under a temporary name and rename it, so that no reader ever sees half of it."""
    partial = partial_of(path)
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.write_bytes(data.encode() if isinstance(data, str) else data)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a value as indented JSON, whole or not at all."""
    write_whole(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_record(path: Path, schema: int, made: Callable[[dict[str, Any]], Record], kind: str, writer: str) -> Record:
    """Return the record in a JSON file that edgeferry wrote; ``kind`` names what it holds, ``writer`` the command that writes it.

    ``made`` turns the fields into the record; it raises ValueError, TypeError, KeyError or AttributeError where they are not one.

    Raises:
        EdgeError: the file is missing, cut short, or not of this schema.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        refuse_other_schema(path, fields.get("schema"), schema, writer)
        return made({name: value for name, value in fields.items() if name != "schema"})
    except OSError as error:
        raise EdgeError("EF-record-missing", f"cannot read {path}: {error.strerror}. `{writer}` writes it.") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EdgeError(
            "EF-record-damaged", f"{path} cannot be read as {kind} ({error}); write it again with `{writer}`."
        ) from None


def refuse_other_schema(path: Path, found: object, expected: int, writer: str) -> None:
    """Refuse a record of another schema; ``writer`` is the command that writes it again.

    Raises:
        EdgeError: the record was written by an older or a newer release.
    """
    if found == expected:
        return
    age = "a newer" if isinstance(found, int) and found > expected else "an older"
    raise EdgeError(
        "EF-record-schema",
        f"{path} was written by {age} release of edgeferry (schema {found!r}; this one reads {expected}); run `{writer}`.",
    )


def append_line(path: Path, line: str) -> None:
    """Append a line to a file; one that an interruption cut short must not swallow it."""
    with explain_disk_errors(path), path.open("a+", encoding="utf-8") as file:
        whole = path.stat().st_size == 0 or path.read_bytes()[-1:] == b"\n"
        file.write(line + "\n" if whole else "\n" + line + "\n")


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``path`` when the block succeeds and is removed when it fails.

    Raises:
        EdgeError: the place cannot be written (read-only, full).
    """
    partial = partial_of(path)
    with explain_disk_errors(path):
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
    try:
        # Any other error, such as a file that does not exist, is a defect of the writer and not of the disk.
        with explain_disk_errors(path, only=REFUSED):
            yield partial
        with explain_disk_errors(path):
            _swap(partial, path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _swap(partial: Path, path: Path) -> None:
    old = path.with_name(f".{path.name}{OLD}")
    shutil.rmtree(old, ignore_errors=True)
    if path.exists():
        path.rename(old)
    try:
        partial.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        raise
    shutil.rmtree(old, ignore_errors=True)


@contextmanager
def explain_disk_errors(path: Path, only: tuple[int, ...] = ()) -> Iterator[None]:
    """Turn the operating system's refusal to write into an EdgeError that names the place; ``only`` limits the error numbers."""
    try:
        yield
    except OSError as error:
        # numpy reports a full disk without a number: "46080 requested and 4096 written".
        number = errno.ENOSPC if error.errno is None and str(error).endswith("written") else error.errno
        if number is None or (only and number not in only):
            raise
        advice = "Free some space, or name" if number in FULL else "Name"
        raise EdgeError(
            "EF-disk", f"cannot write {path}: {os.strerror(number)}. {advice} another folder with --build."
        ) from error
