# SPDX-License-Identifier: Apache-2.0
import errno
import fcntl
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.process.owner import LOCK, owned

OWNS: Final = (
    "import sys, time; from pathlib import Path; from edgeferry.models.system.process.owner import owned\n"
    "with owned(Path(sys.argv[1]), print):\n"
    "    print('owns', flush=True); time.sleep(300)\n"
)


@pytest.fixture
def build(tmp_path: Path) -> Path:
    """Return a build folder that holds something."""
    folder = tmp_path / "build"
    folder.mkdir()
    (folder / "exports.json").touch()
    return folder


@pytest.fixture
def other(build: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield another process that owns the build folder."""
    with subprocess.Popen([sys.executable, "-c", OWNS, build], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owns\n"
        yield process
        process.kill()


def own(build: Path, note: Callable[[str], None] = print, *, wait: bool = False) -> dict[str, Any]:
    """Own a folder for a moment, and return what its lock said."""
    with owned(build, note, wait=wait):
        return dict(json.loads((build / LOCK).read_text(encoding="utf-8")))


def no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


def test_the_lock_names_its_owner(build: Path) -> None:
    assert {"pid": os.getpid(), "host": platform.node()}.items() <= own(build).items()
    assert (build / LOCK).read_bytes() == b""


def test_a_second_owner_is_refused_and_told_who_the_first_is(build: Path, other: subprocess.Popen[str]) -> None:
    with pytest.raises(EdgeError, match=rf"in use by process {other.pid} on .* since 2.*--wait") as caught:
        own(build)
    assert caught.value.code == "EF-build-in-use"


def test_one_that_waits_gets_the_folder_when_the_owner_is_killed(build: Path, other: subprocess.Popen[str]) -> None:
    notes: list[str] = []

    def note(line: str) -> None:
        notes.append(line)
        other.kill()

    assert own(build, note, wait=True)["pid"] == os.getpid()
    assert [line.partition(" since")[0] for line in notes] == [
        f"waiting for {build}, in use by process {other.pid} on {platform.node()}"
    ]


def test_what_a_dead_owner_left_half_written_is_removed(build: Path, other: subprocess.Popen[str]) -> None:
    (build / "runs").mkdir()
    for name in (".exports.json.1f.partial", "runs/.a.npy.2e.partial", ".onnx-float32.log"):
        (build / name).touch()
    other.kill()
    other.wait()
    own(build)
    assert sorted(path.name for path in build.rglob("*")) == [LOCK, "exports.json", "runs"]


def test_an_error_gives_the_folder_back(build: Path) -> None:
    with suppress(ValueError), owned(build, print):
        raise ValueError
    own(build)


def test_a_folder_in_which_nothing_was_written_is_removed(tmp_path: Path) -> None:
    own(tmp_path / "build")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("other")
def test_the_copy_of_an_owned_folder_has_no_owner(build: Path) -> None:
    record = json.loads((build / LOCK).read_text(encoding="utf-8"))
    copy = build.with_name("copy")
    copy.mkdir()
    (copy / LOCK).write_text(json.dumps({**record, "host": "elsewhere", "boot": "another"}), encoding="utf-8")
    assert own(copy)["pid"] == os.getpid()


def test_an_owner_on_another_machine_is_believed_until_its_lock_is_removed(build: Path) -> None:
    record = own(build) | {"host": "elsewhere", "boot": "another"}
    (build / LOCK).write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(EdgeError, match=r"on elsewhere since .* If it has ended there, remove .*/\.lock\."):
        own(build)
    (build / LOCK).unlink()
    own(build)


def test_a_machine_that_was_started_again_owns_nothing_any_more(build: Path) -> None:
    (build / LOCK).write_text(json.dumps(own(build) | {"boot": "the one before"}), encoding="utf-8")
    own(build)


@pytest.mark.parametrize("text", ["", "{", "[1]", '{"pid": []}', "[" * 5000, "\x00\xff"])
def test_a_lock_that_says_nothing_is_taken(build: Path, text: str) -> None:
    (build / LOCK).write_text(text, encoding="latin-1")
    own(build)


def test_without_locks_a_living_owner_is_seen(build: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(EdgeError, match=f"in use by process {other.pid} "):
        own(build)


@pytest.mark.usefixtures("other")
def test_without_locks_a_process_id_that_was_used_again_is_not_the_owner(build: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    record = json.loads((build / LOCK).read_text(encoding="utf-8"))
    (build / LOCK).write_text(json.dumps({**record, "started": "1"}), encoding="utf-8")
    own(build)


def test_a_clock_that_goes_backwards_changes_no_owner(
    build: Path, other: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with pytest.raises(EdgeError, match=f"in use by process {other.pid} "):
        own(build)


def test_a_folder_that_cannot_be_written_is_named(read_only_disk: Path) -> None:
    with pytest.raises(EdgeError, match=r"cannot write .*/model: Read-only file system"):
        own(read_only_disk / "model")
