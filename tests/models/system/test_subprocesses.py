# SPDX-License-Identifier: Apache-2.0
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeferry.models.system import subprocesses
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.models.system.subprocesses import Ended, how_it_ended, run_tool


def is_alive(pid: int) -> bool:
    # A process that has ended but was not waited for is a zombie.
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in {"", "Z", "X"}


def gone(pid: int) -> bool:
    last = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < last:
        time.sleep(0.05)
    return not is_alive(pid)


def not_started(error: EdgeError) -> bool:
    return error.code == "EF-program-not-started"


def sh(script: str, folder: Path, timeout_s: float = 30, ending: tuple[str, ...] = ()) -> Ended:
    return run_tool(["/bin/sh", "-c", script], folder, timeout_s, ending)


def test_output_of_both_streams_is_kept_in_order(tmp_path: Path) -> None:
    assert sh("echo one; echo two >&2; echo three", tmp_path) == Ended("", "one\ntwo\nthree\n")


def test_it_runs_in_the_folder(tmp_path: Path) -> None:
    assert sh("pwd -P", tmp_path).output.strip() == str(tmp_path.resolve())


@pytest.mark.parametrize(
    ("script", "how"),
    [
        ("exit 3", "ended with status 3"),
        ("exit 139", "ended with status 139 (SIGSEGV)"),
        ("exit 255", "ended with status 255"),
        ("kill -s SEGV $$", "was killed by SIGSEGV"),
    ],
)
def test_an_exit_status_is_reported(script: str, how: str, tmp_path: Path) -> None:
    assert sh(script, tmp_path).how == how


def test_an_unknown_signal_is_a_number() -> None:
    assert how_it_ended(-99) == "was killed by signal 99"


def test_bytes_that_are_not_utf_8_are_replaced(tmp_path: Path) -> None:
    assert sh(r"printf 'a\377\376b'", tmp_path).output == "a\ufffd\ufffdb"


def test_one_that_takes_too_long_ends_with_what_it_started(tmp_path: Path) -> None:
    ended = sh("sleep 60 & echo $!; wait", tmp_path, timeout_s=0.5)
    assert ended.how == "took longer than 0.5 s and was ended"
    assert gone(int(ended.output))


def test_what_is_left_behind_ends_with_it(tmp_path: Path) -> None:
    ended = sh("sleep 60 >/dev/null 2>&1 & echo $!", tmp_path)
    assert ended.how == ""
    assert gone(int(ended.output))


def test_one_that_prints_too_much_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocesses, "OUTPUT_BYTES", 2**20)
    ended = sh("yes", tmp_path)
    assert ended.how == "printed more than 1 MiB and was ended"
    assert len(ended.output) == 2**20


def test_what_is_not_below_it_is_ended_by_its_own_command(tmp_path: Path) -> None:
    ending = ("/bin/sh", "-c", f"echo ended > '{tmp_path}/ended'")
    assert sh("true", tmp_path, ending=ending).how == ""
    assert not (tmp_path / "ended").exists()
    sh("sleep 60", tmp_path, timeout_s=0.3, ending=ending)
    assert (tmp_path / "ended").read_text(encoding="ascii") == "ended\n"


def test_a_program_does_not_outlive_edgeferry(tmp_path: Path) -> None:
    ending = ("touch", str(tmp_path / "ended"))
    script = (
        "from pathlib import Path; from edgeferry.models.system.subprocesses import run_tool; "
        f"run_tool(['/bin/sh', '-c', 'echo $$ > pid; sleep 60'], Path({str(tmp_path)!r}), 60, {ending!r})"
    )
    edgeferry = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    place, last = tmp_path / "pid", time.monotonic() + 20
    while not (place.is_file() and place.read_text(encoding="ascii").strip()) and time.monotonic() < last:
        time.sleep(0.05)
    pid = int(place.read_text(encoding="ascii"))
    assert is_alive(pid)
    os.kill(edgeferry.pid, signal.SIGKILL)
    edgeferry.wait()
    assert gone(pid)
    while not (tmp_path / "ended").exists() and time.monotonic() < last:
        time.sleep(0.05)
    assert (tmp_path / "ended").exists()


def test_no_lifeline_is_left_over(tmp_path: Path) -> None:
    sh("true", tmp_path)
    done = subprocess.run(["ps", "-A", "-o", "ppid=,command="], capture_output=True, text=True, check=True)
    children = [line.split(None, 1)[1] for line in done.stdout.splitlines() if line.split()[0] == str(os.getpid())]
    assert any("ps" in command for command in children)
    assert not [command for command in children if command.startswith("/bin/sh")]


def test_one_that_cannot_be_started_is_an_error(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\n", encoding="ascii")
    with pytest.raises(EdgeError, match=r"program cannot be started: Permission denied", check=not_started):
        run_tool([str(program)], tmp_path, 5)
    with pytest.raises(EdgeError, match=r"embedded null byte", check=not_started):
        run_tool(["/bin/sh", "\0"], tmp_path, 5)
