# SPDX-License-Identifier: Apache-2.0
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

PROGRAM: Final = (
    "import os, signal; from edgeferry.models.system.process.temporary import temporary_folder\n"
    "place = temporary_folder(); (place / 'left').touch(); print(place, flush=True)\n"
)
KILLED: Final = PROGRAM + "os.kill(os.getpid(), signal.SIGKILL)\n"
OLD: Final = (1e9, 1e9)


def run(program: str, folder: Path) -> Path:
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | {"TMPDIR": str(folder)}, capture_output=True, text=True, check=False
    )
    return Path(done.stdout.strip())


def test_the_folder_is_removed_when_the_process_ends(tmp_path: Path) -> None:
    assert run(PROGRAM, tmp_path).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_at_the_next_start(tmp_path: Path) -> None:
    left = run(KILLED, tmp_path)
    assert (left / "left").exists()
    os.utime(left, OLD)
    run(PROGRAM, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_process_that_runs_stays(tmp_path: Path) -> None:
    waits = PROGRAM + "input()\n"
    with subprocess.Popen(
        [sys.executable, "-c", waits],
        env=os.environ | {"TMPDIR": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        place = Path(process.stdout.readline().strip())
        os.utime(place, OLD)
        run(PROGRAM, tmp_path)
        assert (place / "left").exists()
        process.communicate("\n")


def test_a_link_of_the_same_name_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    (tmp_path / "edgeferry-run-1").symlink_to(tmp_path / "kept")
    run(PROGRAM, tmp_path)
    assert (tmp_path / "kept" / "file").exists()
