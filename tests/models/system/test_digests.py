# SPDX-License-Identifier: Apache-2.0
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeferry.models.system.digests import Digests
from edgeferry.models.system.files import sha256_of

OLD_NS = 1_700_000_000_000_000_000


@pytest.fixture
def old_file(tmp_path: Path) -> Path:
    """Return a file that did not change for a while."""
    file = tmp_path / "image.png"
    file.write_bytes(b"first")
    os.utime(file, ns=(OLD_NS, OLD_NS))
    return file


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Return the files whose bytes were read."""
    files: list[Path] = []

    def counted(path: Path) -> str:
        files.append(path)
        return sha256_of(path)

    monkeypatch.setattr("edgeferry.models.system.digests.sha256_of", counted)
    return files


Index = Callable[[], Digests]


@pytest.fixture
def index(tmp_path: Path) -> Index:
    return lambda: Digests(tmp_path / ".digests.json")


def test_a_file_that_did_not_change_is_read_once(index: Index, old_file: Path, read: list[Path]) -> None:
    with index() as digests:
        first = digests.sha256(old_file)
    with index() as digests:
        assert digests.sha256(old_file) == first == sha256_of(old_file)
    assert read == [old_file]


@pytest.mark.parametrize("change", ["bytes", "time", "inode"])
def test_a_file_that_changed_is_read_again(index: Index, old_file: Path, read: list[Path], change: str) -> None:
    with index() as digests:
        digests.sha256(old_file)
    if change == "bytes":
        old_file.write_bytes(b"longer than first")
        os.utime(old_file, ns=(OLD_NS, OLD_NS))
    elif change == "time":
        old_file.write_bytes(b"other")
        os.utime(old_file, ns=(OLD_NS + 1, OLD_NS + 1))
    else:
        other = old_file.with_name("other")
        other.write_bytes(b"other")
        os.utime(other, ns=(OLD_NS, OLD_NS))
        other.replace(old_file)
    with index() as digests:
        assert digests.sha256(old_file) == sha256_of(old_file)
    assert len(read) == 2


def test_a_file_that_changed_just_now_is_not_remembered(index: Index, tmp_path: Path, read: list[Path]) -> None:
    file = tmp_path / "new"
    file.write_bytes(b"new")
    for _ in range(2):
        with index() as digests:
            digests.sha256(file)
    assert len(read) == 2


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"schema": 9, "files": {}}', b'{"schema": 1, "files": {"x": 3}}'])
def test_an_index_that_cannot_be_read_is_made_again(index: Index, old_file: Path, content: bytes) -> None:
    place = old_file.with_name(".digests.json")
    place.write_bytes(content)
    with index() as digests:
        assert digests.sha256(old_file) == sha256_of(old_file)
    assert json.loads(place.read_text())["files"][str(old_file)][3] == sha256_of(old_file)


def test_an_index_that_cannot_be_written_does_no_harm(read_only_disk: Path, old_file: Path) -> None:
    with Digests(read_only_disk / ".digests.json") as digests:
        assert digests.sha256(old_file) == sha256_of(old_file)
