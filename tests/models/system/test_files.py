# SPDX-License-Identifier: Apache-2.0
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import (
    digest,
    digest_of_files,
    files_below,
    partial_of,
    sha256_of,
    sweep,
    whole_folder,
    write_json,
    write_whole,
)


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """Return a folder that holds one file from before."""
    folder = tmp_path / "artifact"
    folder.mkdir()
    (folder / "old.txt").write_text("old", encoding="utf-8")
    return folder


def left_as_it_was(kept: Path) -> bool:
    return [path.name for path in kept.parent.iterdir()] == ["artifact"] and [path.name for path in kept.iterdir()] == ["old.txt"]


# One file.


def test_a_file_is_written_with_the_folders_above_it(tmp_path: Path) -> None:
    write_whole(tmp_path / "a" / "b" / "c.txt", "größer")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "größer".encode()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.txt"]


def test_json_is_readable_and_ends_its_last_line(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"label": "blåhaj"})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "label": "blåhaj"\n}\n'


def test_a_file_that_does_not_fit_leaves_the_old_one(full_disk: Path) -> None:
    write_whole(full_disk / "a.bin", b"old")
    with pytest.raises(
        EdgeError, match=r"cannot write .*/a\.bin: No space left on device\. Free some space, or name another folder"
    ):
        write_whole(full_disk / "a.bin", bytes(1_000_000))
    assert (full_disk / "a.bin").read_bytes() == b"old"
    assert [path.name for path in full_disk.iterdir()] == ["a.bin"]


def test_a_file_on_a_read_only_disk_is_refused(read_only_disk: Path) -> None:
    with pytest.raises(EdgeError, match=r"cannot write .*: Read-only file system\. Name another folder with --build"):
        write_whole(read_only_disk / "a.txt", "a")


def test_a_file_below_a_file_is_refused(kept: Path) -> None:
    with pytest.raises(EdgeError, match=r"cannot write .*/old\.txt/a\.txt: Not a directory|File exists"):
        write_whole(kept / "old.txt" / "a.txt", "a")


def test_a_file_in_the_place_of_a_folder_is_refused(kept: Path) -> None:
    with pytest.raises(EdgeError, match="cannot write .*: Is a directory"):
        write_whole(kept, "a")
    assert left_as_it_was(kept)


# A folder.


def test_a_folder_takes_its_place_when_the_block_ends(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "deep" / "artifact") as place:
        (place / "new.txt").write_text("new", encoding="utf-8")
        assert not (tmp_path / "deep" / "artifact").exists()
    assert (tmp_path / "deep" / "artifact" / "new.txt").read_text(encoding="utf-8") == "new"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["artifact"]


def test_a_new_folder_holds_nothing_of_the_old(kept: Path) -> None:
    with whole_folder(kept) as place:
        (place / "new.txt").touch()
    assert [path.name for path in kept.iterdir()] == ["new.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_a_block_that_fails_leaves_the_old_folder(kept: Path, error: type[BaseException]) -> None:
    def fail() -> None:
        with whole_folder(kept) as place:
            (place / "half.txt").touch()
            raise error

    with pytest.raises(error):
        fail()
    assert left_as_it_was(kept)


def test_a_mistake_in_the_block_is_not_told_as_a_place_that_refuses(kept: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"), whole_folder(kept) as place:
        (place / "nowhere" / "a.txt").write_text("a", encoding="utf-8")
    assert left_as_it_was(kept)


def test_a_folder_that_does_not_fit_leaves_the_old_one(full_disk: Path) -> None:
    with whole_folder(full_disk / "artifact") as place:
        (place / "old.txt").touch()
    with (
        pytest.raises(EdgeError, match=r"cannot write .*/artifact: No space left on device\. Free some space"),
        whole_folder(full_disk / "artifact") as place,
    ):
        (place / "big.bin").write_bytes(bytes(1_000_000))
    assert [path.name for path in full_disk.iterdir()] == ["artifact"]
    assert [path.name for path in (full_disk / "artifact").iterdir()] == ["old.txt"]


def test_arrays_that_do_not_fit_are_told_the_same_way(full_disk: Path) -> None:
    with pytest.raises(EdgeError, match="No space left on device"), whole_folder(full_disk / "artifact") as place:
        np.save(place / "pixels.npy", np.zeros(1_000_000, np.uint8))
    assert not list(full_disk.iterdir())


def test_a_folder_on_a_read_only_disk_is_refused(read_only_disk: Path) -> None:
    with (
        pytest.raises(EdgeError, match=r"cannot write .*: Read-only file system\. Name another"),
        whole_folder(read_only_disk / "a"),
    ):
        pytest.fail("there is no place to write to")


def test_a_folder_below_a_file_is_refused(kept: Path) -> None:
    with pytest.raises(EdgeError, match="cannot write .*: Not a directory|File exists"), whole_folder(kept / "old.txt" / "a"):
        pytest.fail("there is no place to write to")


@pytest.mark.skipif(sys.platform != "linux", reason="/proc is Linux's")
def test_a_folder_where_none_can_be_is_refused() -> None:
    with pytest.raises(EdgeError, match="cannot write /proc/edgeferry/a: "), whole_folder(Path("/proc/edgeferry/a")):
        pytest.fail("there is no place to write to")


def test_a_killed_writer_leaves_the_old_folder_and_the_next_one_succeeds(kept: Path) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from edgeferry.models.system.files import whole_folder\n"
        "with whole_folder(Path(sys.argv[1])) as place:\n"
        "    (place / 'half.txt').touch(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(kept)], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in kept.iterdir()] == ["old.txt"]
    with whole_folder(kept) as place:
        (place / "new.txt").touch()
    assert [path.name for path in kept.iterdir()] == ["new.txt"]
    sweep(kept.parent)
    assert [path.name for path in kept.parent.iterdir()] == ["artifact"]


# Digests.


def test_a_digest_follows_the_value_and_not_the_order_of_its_keys() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": [2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


def test_a_digest_of_files_follows_names_and_contents_and_not_the_place(tmp_path: Path) -> None:
    for folder, name, text in (("1", "a", "x"), ("2", "a", "x"), ("3", "b", "x"), ("4", "a", "y")):
        write_whole(tmp_path / folder / name, text)
    digests = [digest_of_files(files_below(folder), folder) for folder in sorted(tmp_path.iterdir())]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_the_sha256_is_the_files(tmp_path: Path) -> None:
    write_whole(tmp_path / "abc", b"abc")
    assert sha256_of(tmp_path / "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_hidden_files_are_not_below_a_folder(tmp_path: Path) -> None:
    for name in ("b", "a/c", ".git/config", "a/.DS_Store"):
        write_whole(tmp_path / name, "")
    assert files_below(tmp_path) == [tmp_path / "a" / "c", tmp_path / "b"]


def test_a_folder_that_was_only_moved_aside_is_put_back(tmp_path: Path) -> None:
    (tmp_path / ".artifact.old").mkdir()
    (tmp_path / ".artifact.old" / "old.txt").touch()
    sweep(tmp_path)
    assert [path.name for path in (tmp_path / "artifact").iterdir()] == ["old.txt"]


def test_a_folder_that_another_process_writes_is_spared(tmp_path: Path) -> None:
    written = [partial_of(tmp_path / name / "array.npy") for name in ("spared", "other")]
    for each in written:
        each.parent.mkdir()
        each.touch()
    sweep(tmp_path, spared="spared")
    assert [each.exists() for each in written] == [True, False]


def test_a_folder_that_was_replaced_is_removed(kept: Path) -> None:
    kept.with_name(".artifact.old").mkdir()
    sweep(kept.parent)
    assert left_as_it_was(kept)


def test_two_writers_of_one_file_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    assert partial_of(tmp_path / "a") != partial_of(tmp_path / "a")
