# SPDX-License-Identifier: Apache-2.0
import importlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.process.temporary import temporary_folder

# A child imports the functions it runs by name, so they are in a module of their own.
WORK: Final = '''\
import ctypes, os, signal, subprocess, sys, tempfile, time
from pathlib import Path
from edgeferry.models.system.errors import EdgeError

class Unsupported(EdgeError):
    """Another kind of it."""

calls = []

def add(a, b):
    calls.append((a, b))
    return a + b, len(calls), os.getpid()

def place():
    return {
        "pid": os.getpid(), "parent": os.getppid(), "loaded": {"keras", "tensorflow"} <= set(sys.modules), "folder": os.getcwd(),
        "variable": os.environ.get("EDGEFERRY_FORKED"),
        "interrupts": signal.getsignal(signal.SIGINT) is signal.default_int_handler,
    }

def twice(data):
    return data * 2

def refuse():
    raise EdgeError("EF-label-count", "labels.txt has 9 lines, the model 10 classes: add one")

def refuse_otherwise():
    raise Unsupported("EF-no-such-operation", "no such operation")

def lack(module):
    raise ModuleNotFoundError("no " + module, name=module)

def fail():
    raise ValueError("first line\\n\\x1b[1;31mthe point\\x1b[m\\n")

def leave():
    sys.exit(4)

def report():
    print("printed")
    print("complained", file=sys.stderr)
    os.write(1, b"written\\n")
    os.write(2, b"written to stderr\\n")
    subprocess.run([sys.executable, "-c", "print('from a program')"], check=True)
    ctypes.CDLL(None).puts(b"from C")
    ctypes.CDLL(None).fflush(None)

def crash():
    ctypes.string_at(0)

def stop_at_once():
    os._exit(3)

def not_picklable():
    return lambda: None

def sleep(place):
    program = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    Path(place + ".partial").write_text(f"{os.getpid()} {program.pid} {os.getppid()}")
    os.rename(place + ".partial", place)
    time.sleep(300)

def temporary():
    return tempfile.NamedTemporaryFile().name
'''
PARENT: Final = """\
import sys; from pathlib import Path; import edgeferry_child_work as work
from edgeferry.models.system.child import Child
if __name__ == '__main__':
    Child(with_keras=len(sys.argv) > 3).call(work.sleep, sys.argv[1], log=Path(sys.argv[2]))
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Yield the module above."""
    (tmp_path / "edgeferry_child_work.py").write_text(WORK, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("edgeferry_child_work")
    del sys.modules["edgeferry_child_work"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Return where the child's output goes."""
    return tmp_path / "logs" / "export.log"


@pytest.fixture
def child() -> Iterator[Child]:
    """Yield a child that is stopped at the end."""
    with Child() as child:
        yield child


def is_running(process: int) -> bool:
    # A dead process that nobody waits for any more is a zombie until its new parent does.
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(process)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1] not in {"", "Z"}


def end_within(seconds: float, processes: list[int]) -> bool:
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        if not any(map(is_running, processes)):
            return True
        time.sleep(0.05)
    return False


def read_processes(place: Path) -> list[int]:
    limit = time.monotonic() + 30
    while not place.exists() and time.monotonic() < limit:
        time.sleep(0.05)
    return list(map(int, place.read_text(encoding="utf-8").split()))


def test_what_a_function_returns_comes_back(child: Child, work: ModuleType, log: Path) -> None:
    assert child.call(work.add, 1, 2, log=log)[0] == 3


def test_large_data_goes_in_and_out(child: Child, work: ModuleType, log: Path) -> None:
    assert child.call(work.twice, b"x" * 3_000_000, log=log) == b"x" * 6_000_000


def test_the_process_is_another_one_and_kept(child: Child, work: ModuleType, log: Path) -> None:
    first, second = (child.call(work.add, 1, 2, log=log) for _ in range(2))
    assert first[2] == second[2] != os.getpid()
    assert (first[1], second[1]) == (1, 2)


def test_an_edge_error_keeps_its_message_code_and_class(child: Child, work: ModuleType, log: Path) -> None:
    with pytest.raises(EdgeError, match=r"^labels\.txt has 9 lines, the model 10 classes: add one$") as caught:
        child.call(work.refuse, log=log)
    assert caught.value.code == "EF-label-count"
    with pytest.raises(work.Unsupported, match="no such operation", check=lambda error: error.code == "EF-no-such-operation"):
        child.call(work.refuse_otherwise, log=log)


def test_a_missing_package_names_its_extra(child: Child, work: ModuleType, log: Path) -> None:
    with pytest.raises(EdgeError, match=r"edgeferry\[export\]", check=lambda error: error.code == "EF-package-missing"):
        child.call(work.lack, "keras", log=log)


def test_a_missing_module_of_edgeferry_is_a_defect(child: Child, work: ModuleType, log: Path) -> None:
    with pytest.raises(ChildError, match=r"^ModuleNotFoundError: no edgeferry\.models$"):
        child.call(work.lack, "edgeferry.models", log=log)


def test_another_error_is_its_class_and_last_line_and_the_log_holds_the_rest(child: Child, work: ModuleType, log: Path) -> None:
    with pytest.raises(ChildError, match="^ValueError: the point$"):
        child.call(work.fail, log=log)
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert "first line" in log.read_text(encoding="utf-8")


def test_a_function_that_leaves_python_is_an_error(child: Child, work: ModuleType, log: Path) -> None:
    with pytest.raises(ChildError, match="^SystemExit: 4$"):
        child.call(work.leave, log=log)
    assert child.call(work.add, 1, 2, log=log)[0] == 3


def test_all_output_goes_to_the_log(child: Child, work: ModuleType, log: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log.parent.mkdir()
    log.write_text("from before\n", encoding="utf-8")
    child.call(work.report, log=log)
    child.call(work.add, 1, 2, log=log)
    printed = {"from before", "printed", "complained", "written", "written to stderr", "from a program", "from C"}
    assert printed <= set(log.read_text(encoding="utf-8").splitlines())
    assert capfd.readouterr() == ("", "")


def test_each_call_has_its_own_log(child: Child, work: ModuleType, log: Path) -> None:
    child.call(work.report, log=log)
    child.call(work.report, log=log.with_name("other.log"))
    assert sorted(log.read_text(encoding="utf-8")) == sorted(log.with_name("other.log").read_text(encoding="utf-8"))


def test_a_crash_is_named_by_its_signal_and_the_next_call_works(child: Child, work: ModuleType, log: Path) -> None:
    before = child.call(work.add, 1, 2, log=log)
    with pytest.raises(ChildError, match=r"^the process was killed by SIGSEGV; see .*export\.log$"):
        child.call(work.crash, log=log)
    after = child.call(work.add, 1, 2, log=log)
    assert after[2] != before[2]
    assert after[1] == 1


def test_an_exit_is_named_by_its_status_and_the_next_call_works(child: Child, work: ModuleType, log: Path) -> None:
    with pytest.raises(ChildError, match=r"^the process ended with status 3; see "):
        child.call(work.stop_at_once, log=log)
    assert child.call(work.add, 1, 2, log=log)[0] == 3


def test_a_result_that_cannot_be_sent_is_an_error_and_the_next_call_works(child: Child, work: ModuleType, log: Path) -> None:
    with pytest.raises(ChildError, match=r"see .*export\.log"):
        child.call(work.not_picklable, log=log)
    # Python 3.13 names the object that cannot be sent, the others the pickling.
    assert re.search("pickle|Can't get local object", log.read_text(encoding="utf-8"))
    assert child.call(work.add, 1, 2, log=log)[0] == 3


def test_what_takes_too_long_is_ended_with_what_it_started(child: Child, work: ModuleType, log: Path, tmp_path: Path) -> None:
    child.call(work.add, 1, 2, log=log)
    with pytest.raises(ChildError, match=r"^took longer than 1\.5 s and was ended; see "):
        child.call(work.sleep, str(tmp_path / "processes"), log=log, timeout_s=1.5)
    assert end_within(5, read_processes(tmp_path / "processes")[:2])
    assert child.call(work.add, 1, 2, log=log)[0] == 3


def test_no_process_is_left_when_the_block_ends(work: ModuleType, log: Path) -> None:
    with Child() as child:
        process = child.call(work.add, 1, 2, log=log)[2]
        assert is_running(process)
    assert not is_running(process)


def test_a_child_that_was_never_called_starts_nothing() -> None:
    with Child() as child:
        child.stop()
    child.stop()


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize("to_group", [False, True])
def test_an_interrupt_ends_the_child_and_what_it_started(tmp_path: Path, log: Path, *, to_group: bool) -> None:
    (tmp_path / "parent.py").write_text(PARENT, encoding="utf-8")
    place = tmp_path / "processes"
    # A terminal sends Ctrl-C to the whole group.
    parent = subprocess.Popen(
        [sys.executable, tmp_path / "parent.py", place, log], start_new_session=True, stderr=subprocess.PIPE, text=True
    )
    processes = read_processes(place)
    assert all(map(is_running, processes))
    if to_group:
        os.killpg(parent.pid, signal.SIGINT)
    else:
        parent.send_signal(signal.SIGINT)
    _, output = parent.communicate(timeout=30)
    assert output.rstrip().endswith("KeyboardInterrupt")
    assert output.count("Traceback") == 1
    assert end_within(5, processes)


@pytest.mark.usefixtures("work")
@pytest.mark.parametrize(("ended_by", "kind"), [(signal.SIGTERM, []), (signal.SIGKILL, []), (signal.SIGKILL, ["with Keras"])])
def test_a_parent_that_is_killed_takes_the_child_and_what_it_started_along(
    tmp_path: Path, log: Path, ended_by: signal.Signals, kind: list[str]
) -> None:
    (tmp_path / "parent.py").write_text(PARENT, encoding="utf-8")
    place = tmp_path / "processes"
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py", place, log, *kind], start_new_session=True)
    processes = read_processes(place)
    assert all(map(is_running, processes))
    os.killpg(parent.pid, ended_by)
    parent.wait(10)
    assert end_within(5, processes)


def test_temporary_files_of_a_child_are_in_edgeferrys_own_folder(child: Child, work: ModuleType, log: Path) -> None:
    assert Path(child.call(work.temporary, log=log)).parent == temporary_folder()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forks")
def test_children_with_keras_are_forks_of_one_process_that_has_it(
    work: ModuleType, log: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EDGEFERRY_FORKED", "now")
    monkeypatch.chdir(tmp_path)
    with Child(with_keras=True) as first, Child(with_keras=True) as second:
        found = [child.call(work.place, log=log) for child in (first, second)]
    assert len({each["pid"] for each in found}) == 2
    assert len({each["parent"] for each in found}) == 1
    assert found[0] | {"pid": 0, "parent": 0} == {
        "pid": 0,
        "parent": 0,
        "loaded": True,
        "folder": str(tmp_path),
        "variable": "now",
        "interrupts": True,
    }
    assert found[0]["parent"] != os.getpid()


def test_a_fork_that_crashes_is_named_by_its_signal_and_starts_again(work: ModuleType, log: Path) -> None:
    with Child(with_keras=True) as child:
        with pytest.raises(ChildError, match="SIGSEGV"):
            child.call(work.crash, log=log)
        assert child.call(work.add, 1, 2, log=log)[:2] == (3, 1)
