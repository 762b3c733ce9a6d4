# SPDX-License-Identifier: Apache-2.0
"""A bundle's file: a zip archive of files as they are, in one order and with one date, so that its bytes are reproducible.

Its first file, bundle.json, lists the others with size and sha256. A bundle may come from anybody: what it declares is checked
before anything is written, each file is held to its digest, and the archive to the bytes that this module would write.
"""

import filecmp
import json
import re
import shutil
import tempfile
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.models.loading.bounds import MEBIBYTE, MOST_BYTES
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, explain_disk_errors, files_below, partial_of, sha256_of, whole_folder

# History: 1, the first. Its JSON Schema is bundle.schema.json.
SCHEMA: Final = 1
INDEX: Final = "bundle.json"
SUFFIX: Final = ".bundle"
MOST_FILES: Final = 10_000
MOST_INDEX_BYTES: Final = 4 * MEBIBYTE
# The first that a zip archive can hold.
DATE: Final = (1980, 1, 1, 0, 0, 0)
# A file that its owner can write and everybody can read, as Unix has it.
MODE: Final = 0o100644 << 16
MAGIC: Final = b"PK\x03\x04"
NAME_AT: Final = 30
# No hidden file, nothing that leads elsewhere, nothing that another system reads otherwise.
NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}(/[A-Za-z0-9_][A-Za-z0-9_.+-]{0,127}){0,15}")
MODEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
SHA256: Final = re.compile(r"[0-9a-f]{64}")
REMAKE: Final = "make it again with `edgeferry bundle build/<model>`"


@dataclass(frozen=True)
class BundleIndex:
    """What bundle.json holds: the model's name, what has to pass, and the sha256 and size in bytes of each file by name."""

    model: str
    required: tuple[str, ...]
    files: Mapping[str, Mapping[str, Any]]
    schema: int = SCHEMA

    def text(self) -> str:
        """Return bundle.json."""
        return json.dumps(asdict(self), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def index_of(folder: Path, model: str, required: Iterable[str]) -> BundleIndex:
    """Return the index of all files below a folder.

    Raises:
        EdgeError: a file has a name that no bundle may hold.
    """
    names = {path: path.relative_to(folder).as_posix() for path in files_below(folder)}
    for path, name in names.items():
        if not NAME.fullmatch(name):
            raise EdgeError(
                "EF-bundle-name",
                f"{path}: a bundle holds files named with letters, digits, '_', '.', '+' and '-'; rename it.",
            )
    facts = {name: {"sha256": sha256_of(path), "bytes": path.stat().st_size} for path, name in sorted(names.items())}
    return BundleIndex(model, tuple(required), facts)


def write_archive(folder: Path, index: BundleIndex, path: Path) -> None:
    """Write the files below a folder that an index names as a bundle, whole or not at all."""
    partial = partial_of(path)
    with explain_disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _write(folder, index, partial)
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _write(folder: Path, index: BundleIndex, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_entry(INDEX), index.text())
        for name, facts in sorted(index.files.items()):
            entry = _entry(name)
            entry.file_size = facts["bytes"]
            with (folder / name).open("rb") as source, archive.open(entry, "w") as member:
                shutil.copyfileobj(source, member)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name, DATE)
    entry.external_attr, entry.create_system = MODE, 3
    return entry


def is_archive(path: Path) -> bool:
    """Return whether a path is a bundle, by its first bytes; whether it is whole is found when it is unpacked."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        head = file.read(NAME_AT + len(INDEX))
    return head.startswith(MAGIC) and head[NAME_AT:] == INDEX.encode()


def read_index(path: Path) -> BundleIndex:
    """Return the index of a bundle, once everything that its archive declares is known to be what the index says.

    Raises:
        EdgeError: it is damaged, was written by another release, or declares what no bundle holds.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
            _refuse_other_entries(entries)
            index = _index(json.loads(archive.read(entries[0])))
            declared = {each.filename: each.file_size for each in entries[1:]}
    except Exception as error:  # noqa: BLE001 - see below
        # zipfile raises many kinds of error for a damaged file: BadZipFile, NotImplementedError, struct.error, OverflowError.
        raise _damaged(path, error) from None
    if len(declared) != len(entries) - 1 or declared != {name: each["bytes"] for name, each in index.files.items()}:
        raise _damaged(path, f"its files are not those that {INDEX} lists")
    return index


def _refuse_other_entries(entries: list[zipfile.ZipInfo]) -> None:
    """Raise ValueError where an archive's files are too many, compressed, or do not begin with the index."""
    if not 0 < len(entries) <= MOST_FILES or entries[0].filename != INDEX or entries[0].file_size > MOST_INDEX_BYTES:
        raise ValueError(f"expected {INDEX} and at most {MOST_FILES} files")
    if any(each.compress_type != zipfile.ZIP_STORED or each.file_size != each.compress_size for each in entries):
        raise ValueError("its files are compressed")


def _index(fields: dict[str, Any]) -> BundleIndex:
    if fields.pop("schema") != SCHEMA:
        raise ValueError("another release of edgeferry wrote it")
    index = BundleIndex(**{**fields, "required": tuple(fields["required"])})
    texts = [index.model, *index.required, *(each["sha256"] for each in index.files.values())]
    if not all(isinstance(each, str) for each in texts) or not MODEL.fullmatch(index.model):
        raise ValueError(f"{INDEX} names no model")
    for name, facts in index.files.items():
        is_right = NAME.fullmatch(name) and set(facts) == {"sha256", "bytes"} and SHA256.fullmatch(facts["sha256"])
        if not is_right or type(facts["bytes"]) is not int or name == INDEX:
            raise ValueError(f"{INDEX} lists {name[:80]!r}")
    folders = {parent.as_posix() for name in index.files for parent in Path(name).parents}
    if folders & set(index.files) or sum(each["bytes"] for each in index.files.values()) > MOST_BYTES:
        raise ValueError(f"its files are in each other, or have more than {MOST_BYTES // MEBIBYTE} MiB")
    return index


def unpack(path: Path, place: Path) -> BundleIndex:
    """Write a bundle's files into a folder, whole or not at all, and return its index.

    Raises:
        EdgeError: it is damaged: a file is not the one that its index names, or the archive has other bytes than it should.
    """
    index = read_index(path)
    with whole_folder(place) as partial:
        try:
            with zipfile.ZipFile(path) as archive:
                for name in index.files:
                    (partial / name).parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(name) as member, (partial / name).open("xb") as file:
                        shutil.copyfileobj(member, file)
        except (zipfile.BadZipFile, EOFError, ValueError, NotImplementedError, RuntimeError) as error:
            raise _damaged(path, error) from None
        (partial / INDEX).write_text(index.text(), encoding="utf-8")
        if problem := problem_in(partial, index, sha256_of) or _other_bytes(path, partial, index):
            raise _damaged(path, problem)
    return index


def problem_in(place: Path, index: BundleIndex, sha256: Sha256) -> str | None:
    """Return which file of a bundle that was unpacked into a folder is not the one that its index names, or None."""
    for name, facts in index.files.items():
        if not (place / name).is_file() or sha256(place / name) != facts["sha256"]:
            return f"{name} is not the file that {INDEX} lists"
    return None


def _other_bytes(path: Path, folder: Path, index: BundleIndex) -> str | None:
    """Return a sentence where a bundle's bytes are not those that these files make: it says more than can be seen."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".") as temporary:
        written = Path(temporary) / "written"
        _write(folder, index, written)
        return None if filecmp.cmp(path, written, shallow=False) else "its bytes are not those that edgeferry writes"


def _damaged(path: Path, why: object) -> EdgeError:
    return EdgeError("EF-bundle-damaged", f"{path}: not a bundle that can be read: {why}; {REMAKE}.")
