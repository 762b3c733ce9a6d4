# SPDX-License-Identifier: Apache-2.0
"""The loopback board: a real sshd and the real runtime of Coral boards under a Python of their time. There is no Edge TPU here.

The replacement of libedgetpu is compiled from a few lines of C and never makes a row pass.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from edgeferry.models.artifact import files_of, read_artifact, write_manifest
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.boards.tflite_runtime import BOARDS
from edgeferry.targets.target import Absent, Job, Run, Unsupported, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

COMPILED: Final = ROOT.parent / "shared" / "data" / "edgetpu" / "mobilenet_v1_0.25_128_quant_edgetpu.tflite"
# What the loader of a delegate calls, by TF Lite's documentation.
STAND_IN: Final = """\
#include <signal.h>
#include <stddef.h>
static int prepare(void *context, void *delegate) { return 0; }
static void *takes_nothing[32] = {NULL, (void *)prepare};
void *tflite_plugin_create_delegate(char **keys, char **values, size_t count, void (*report)(const char *)) { %s }
void tflite_plugin_destroy_delegate(void *delegate) {}
"""
MISBEHAVIOURS: Final = {
    "no device": ("return NULL;", Absent, "EF-edgetpu-absent", "plug in an Edge TPU"),
    "crashed": ("raise(SIGSEGV); return NULL;", EdgeError, "EF-runtime-crashed", "SIGSEGV while loading .*libedgetpu"),
    "delegate refused": ("return takes_nothing;", EdgeError, "EF-delegate-refused", "unresolved custom op: edgetpu-custom-op"),
}


@pytest.fixture
def board(sshd: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the loopback board's folder."""
    if why := BOARDS.missing():
        pytest.skip(why)
    folder = tmp_path / "it's a board"
    monkeypatch.setenv("EDGEFERRY_CORAL", "board")
    monkeypatch.setenv("EDGEFERRY_CORAL_PYTHON", str(BOARDS.python.absolute()))
    monkeypatch.setenv("EDGEFERRY_CORAL_FOLDER", str(folder))
    assert sshd.port
    return folder


@pytest.fixture
def compiled(build: Path, tmp_path: Path) -> Path:
    """Return a folder with a file that the real compiler wrote."""
    if not COMPILED.is_file():
        pytest.skip("no file of the Edge TPU compiler on this machine (../shared/data/edgetpu)")
    folder = tmp_path / "edgetpu-int8"
    folder.mkdir()
    shutil.copy(COMPILED, folder / "model.tflite")
    parent = read_artifact(build / "tflite-int8")
    write_manifest(replace(parent, format="edgetpu-int8", kind="edgetpu", files=files_of(folder)), folder)
    return folder


def _run(target: str, folder: Path, build: Path, work: Path, rounds: int = 5) -> Run:
    return targets()[target].run(Job(folder, build / "reference" / "pixels.npy", work, rounds=rounds))


def test_a_board_runs_over_ssh_and_times_itself(
    board: Path, build: Path, tmp_path: Path, scores: "NDArray[np.float32]", sshd: Any
) -> None:
    run = _run("coral-cpu", build / "tflite-int8", build, tmp_path / "work", rounds=7)
    assert abs(run.scores - scores).max() < 0.15
    assert run.labels == ("red", "blue", "yellow", "cyan")
    assert len(run.latencies_ms) == 7
    assert min(run.first_ms, run.load_ms, *run.latencies_ms) > 0
    assert run.environment["version"].startswith("2.5.0")
    assert run.environment["git_version"] == "a4dfb8d1a71385bd6d122e4f27f86dcebb96712d"
    assert run.environment["python"].startswith(("3.7", "3.9"))
    assert {"host", "before", "after", "usb", "pycoral", "threads", "delegate", "measured"} <= set(run.environment)
    assert sshd.connections() == 1
    assert {path.name for path in board.iterdir()} == {"files", "jobs"}


@pytest.mark.usefixtures("board")
def test_floats_run_too(build: Path, tmp_path: Path, scores: "NDArray[np.float32]") -> None:
    assert abs(_run("coral-cpu", build / "tflite-float32", build, tmp_path / "work").scores - scores).max() < 1e-4


def test_a_result_kept_there_is_reused_until_it_is_to_be_measured_again(
    board: Path, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (_run("coral-cpu", build / "tflite-int8", build, tmp_path / name) for name in "ab")
    assert "kept" not in first.environment
    assert second.environment["kept"] is True
    assert "before" not in second.environment
    assert second.latencies_ms == first.latencies_ms
    monkeypatch.setenv("EDGEFERRY_CORAL_REMEASURE", "1")
    third = _run("coral-cpu", build / "tflite-int8", build, tmp_path / "c")
    assert "kept" not in third.environment
    assert third.latencies_ms != first.latencies_ms
    assert len(list((board / "jobs").iterdir())) == 1


@pytest.mark.parametrize("damaged", ["scores.npy", "files"])
def test_damaged_files_there_are_replaced(damaged: str, board: Path, build: Path, tmp_path: Path) -> None:
    first = _run("coral-cpu", build / "tflite-int8", build, tmp_path / "a")
    for path in board.glob("files/*" if damaged == "files" else f"jobs/*/{damaged}"):
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    second = _run("coral-cpu", build / "tflite-int8", build, tmp_path / "b")
    assert (second.scores == first.scores).all()
    assert ("kept" in second.environment) == (damaged == "files")


@pytest.mark.alone
def test_a_job_continues_while_the_connection_is_lost(board: Path, build: Path, tmp_path: Path, sshd: Any) -> None:
    with _begun(board, build, tmp_path) as process:
        sshd.stop()
        time.sleep(0.3)
        sshd.start()
        output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert json.loads(output)["kept"] is None
    assert sshd.connections() == 2
    assert len(list(board.glob("jobs/*/result.json"))) == 1


def test_a_job_continues_when_this_program_is_killed_and_does_not_run_twice(board: Path, build: Path, tmp_path: Path) -> None:
    with _begun(board, build, tmp_path) as process:
        os.kill(process.pid, signal.SIGKILL)
    run = _run("coral-cpu", build / "tflite-int8", build, tmp_path / "again", rounds=ROUNDS)
    assert run.environment["kept"] is True
    assert len(run.latencies_ms) == ROUNDS


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize("kind", MISBEHAVIOURS)
def test_failures_of_an_edge_tpu_are_distinguished(
    kind: str, compiled: Path, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, error, code, message = MISBEHAVIOURS[kind]
    monkeypatch.setenv("EDGEFERRY_LIBEDGETPU", str(_stand_in(tmp_path, body)))
    with pytest.raises(error, match=message) as caught:
        _run("coral-edgetpu", compiled, build, tmp_path / "work")
    assert caught.value.code == code
    assert isinstance(caught.value, Unsupported) == (kind == "no device")


@pytest.mark.usefixtures("board")
def test_a_missing_library_is_reported_with_what_installs_it(compiled: Path, build: Path, tmp_path: Path) -> None:
    with pytest.raises(
        Absent,
        match=r"libedgetpu\.so\.1: cannot open [\w :]*; the Debian package libedgetpu1-std",
        check=lambda error: error.code == "EF-libedgetpu-missing",
    ):
        _run("coral-edgetpu", compiled, build, tmp_path / "work")


@pytest.mark.usefixtures("board")
def test_a_file_that_is_not_compiled_is_refused_by_the_edge_tpu(build: Path, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="not compiled", check=lambda error: error.code == "EF-delegate-refused"):
        _run("coral-edgetpu", build / "tflite-int8", build, tmp_path / "work")


@pytest.mark.usefixtures("board")
def test_a_missing_python_is_reported(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFERRY_CORAL_PYTHON", "python3.999")
    with pytest.raises(
        Absent, match=r"python3\.999 .* on board; EDGEFERRY_CORAL_PYTHON", check=lambda error: error.code == "EF-board-python"
    ):
        _run("coral-cpu", build / "tflite-int8", build, tmp_path / "work")


@pytest.mark.usefixtures("board")
def test_a_python_without_a_runtime_is_reported(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare = tmp_path / "bare"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setenv("EDGEFERRY_CORAL_PYTHON", str(bare))
    with pytest.raises(
        Absent,
        match=r"\(No module named 'numpy'\): `sudo apt-get install",
        check=lambda error: error.code == "EF-tflite-runtime-missing",
    ):
        _run("coral-cpu", build / "tflite-int8", build, tmp_path / "work")


def test_a_folder_that_cannot_be_written_is_reported(
    board: Path, build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    board.write_text("a file where the folder should be")
    with pytest.raises(
        Absent, match=r"about_device\.py .*EDGEFERRY_CORAL_FOLDER", check=lambda error: error.code == "EF-board-not-writable"
    ):
        _run("coral-cpu", build / "tflite-int8", build, tmp_path / "work")
    monkeypatch.setenv("EDGEFERRY_CORAL_FOLDER", str(tmp_path / "other"))
    assert _run("coral-cpu", build / "tflite-int8", build, tmp_path / "work").latencies_ms


def test_no_board_is_named_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEFERRY_CORAL", raising=False)
    assert "`make bench-coral HOST=mendel@192.168.100.2`" in str(targets()["coral-edgetpu"].missing())
    assert not targets()["coral-edgetpu"].by_default


def test_a_usb_accelerator_that_is_not_plugged_in_is_absent(
    compiled: Path, build: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    if why := BOARDS.missing():
        pytest.skip(why)
    monkeypatch.setenv("EDGEFERRY_LIBEDGETPU", str(_stand_in(tmp_path, MISBEHAVIOURS["no device"][0])))
    assert targets()["edgetpu-usb"].missing() is None
    with Child() as child, pytest.raises(Absent, check=lambda error: error.code == "EF-edgetpu-absent"):
        child.call(_run, "edgetpu-usb", compiled, build, tmp_path / "work", log=tmp_path / "log")


def test_a_missing_libedgetpu_is_reported_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFERRY_LIBEDGETPU", "/no/such/libedgetpu.so.1")
    assert "EDGEFERRY_LIBEDGETPU names /no/such/libedgetpu.so.1" in str(targets()["edgetpu-usb"].missing())


# Long enough to be interrupted.
ROUNDS: Final = 25_000
BEGIN: Final = """\
import json, sys
from pathlib import Path
from edgeferry.targets.target import Job, targets
folder, pixels, work, rounds = sys.argv[1:]
run = targets()["coral-cpu"].run(Job(Path(folder), Path(pixels), Path(work), rounds=int(rounds)))
print(json.dumps({"kept": run.environment.get("kept")}))
"""


def _begun(board: Path, build: Path, work: Path) -> "subprocess.Popen[str]":
    """Return another process of edgeferry whose job has begun on the board."""
    words = [build / "tflite-int8", build / "reference" / "pixels.npy", work / "begun", ROUNDS]
    process = subprocess.Popen(
        [sys.executable, "-c", BEGIN, *map(str, words)], cwd=ROOT, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    deadline = time.monotonic() + 30
    while not any("predicting" in path.read_text() for path in board.glob("jobs/*/result.json.progress")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    return process


def _stand_in(folder: Path, body: str) -> Path:
    """Compile a replacement of libedgetpu: it stands for a failure, never for a prediction."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler on this machine")
    library = folder / "libedgetpu.so.1"
    (folder / "stand_in.c").write_text(STAND_IN % body)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, folder / "stand_in.c"], check=True)
    return library
