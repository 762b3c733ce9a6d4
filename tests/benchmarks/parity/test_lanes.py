# SPDX-License-Identifier: Apache-2.0
"""Jobs side by side: each in a process of its own, and all but one standing still while that one is timed."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import psutil
import pytest

from edgeferry.benchmarks.parity import lanes
from edgeferry.benchmarks.parity.lanes import Lane, SideBySide, lane_count
from edgeferry.models.system.errors import EdgeError

# A child imports the functions it runs by name, so they are in a module of their own.
WORK: Final = '''\
import os, subprocess, sys, time
from pathlib import Path
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.quiet import quiet

COUNT = """
import sys, time
from pathlib import Path
while True:
    with Path(sys.argv[1]).open("ab", buffering=0) as file:
        file.write(b".")
    time.sleep(0.002)
"""

def where(name):
    return name, os.getpid()

def count(work, until):
    """Count in a process of another group, as a browser's are, until a file is there."""
    process = subprocess.Popen([sys.executable, "-c", COUNT, str(Path(work, "ticks"))], start_new_session=True)
    while not Path(until).exists():
        time.sleep(0.005)
    process.kill()
    process.wait()
    return "counted"

def time_something(work, ticks, done, asks):
    while not Path(ticks).exists() or Path(ticks).stat().st_size < 20:
        time.sleep(0.005)
    with quiet(Path(work), asks=asks):
        before = Path(ticks).stat().st_size
        time.sleep(0.3)
        after = Path(ticks).stat().st_size
    Path(done).touch()
    return after - before

def hang_while_timing(work, done):
    with quiet(Path(work), asks=True):
        while not Path(done).exists():
            time.sleep(0.005)
    return "hung"

def end_the_hanging(done):
    time.sleep(0.2)
    Path(done).touch()
    return "ended"

def refuse(name):
    raise EdgeError("EF-label-count", name)
'''


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    (tmp_path / "work_of_lanes.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
    sys.modules.pop("work_of_lanes", None)
    return importlib.import_module("work_of_lanes")


def called(function: Callable[..., Any], folder: Path) -> Callable[[tuple[str, tuple[Any, ...]], Lane], Any]:
    def run(each: tuple[str, tuple[Any, ...]], lane: Lane) -> Any:
        name, arguments = each
        place = folder / name
        place.mkdir(exist_ok=True)
        return lane.call(function, *arguments, work=place, log=place / "log", timeout_s=60)

    return run


def test_there_is_at_least_one_lane() -> None:
    assert lane_count() >= 1


def test_work_of_one_group_shares_a_process_and_groups_do_not(work: ModuleType, tmp_path: Path) -> None:
    jobs = [(group, (f"{group}{number}",)) for group in "ab" for number in range(3)]
    found = dict(SideBySide(1, lambda each: each[0], called(work.where, tmp_path)).results(jobs))
    assert found["a0"] == found["a1"] == found["a2"] != found["b0"] == found["b1"] == found["b2"]


def test_one_lane_runs_everything_in_the_order_given(work: ModuleType, tmp_path: Path) -> None:
    jobs = [(group, (f"{group}{number}",)) for number in range(2) for group in "ab"]
    found = [name for name, _ in SideBySide(1, lambda each: each[0], called(work.where, tmp_path)).results(jobs)]
    assert found == ["a0", "b0", "a1", "b1"]


def test_groups_run_side_by_side(work: ModuleType, tmp_path: Path) -> None:
    found = dict(SideBySide(2, lambda each: each[0], called(work.where, tmp_path)).results([("a", ("a",)), ("b", ("b",))]))
    assert found["a"] != found["b"]


@pytest.mark.parametrize("asks", [True, False])
def test_others_stand_still_while_one_is_timed_and_go_on_afterwards(work: ModuleType, tmp_path: Path, *, asks: bool) -> None:
    ticks, done = tmp_path / "counting" / "ticks", tmp_path / "done"
    functions = {"counting": work.count, "timing": work.time_something}

    def run(each: tuple[str, tuple[Any, ...]], lane: Lane) -> Any:
        return called(functions[each[0]], tmp_path)(each, lane)

    jobs = [
        ("counting", (str(tmp_path / "counting"), str(done))),
        ("timing", (str(tmp_path / "timing"), str(ticks), str(done), asks)),
    ]
    found = list(SideBySide(2, lambda each: each[0], run).results(jobs))
    counted = next(each for each in found if each != "counted")
    assert "counted" in found
    assert counted == 0 if asks else counted > 0


def test_one_that_hangs_while_it_is_timed_does_not_keep_the_others_standing(
    work: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MOST_QUIET_S", 1.0)
    functions = {"hanging": work.hang_while_timing, "ending": work.end_the_hanging}

    def run(each: tuple[str, tuple[Any, ...]], lane: Lane) -> Any:
        return called(functions[each[0]], tmp_path)(each, lane)

    done = str(tmp_path / "done")
    jobs = [("hanging", (str(tmp_path / "hanging"), done)), ("ending", (done,))]
    assert set(SideBySide(2, lambda each: each[0], run).results(jobs)) == {"hung", "ended"}


def test_an_error_of_one_ends_the_others(work: ModuleType, tmp_path: Path) -> None:
    functions = {"refusing": work.refuse, "counting": work.count}

    def run(each: tuple[str, tuple[Any, ...]], lane: Lane) -> Any:
        return called(functions[each[0]], tmp_path)(each, lane)

    jobs = [("counting", (str(tmp_path / "counting"), str(tmp_path / "never"))), ("refusing", ("no",))]
    with pytest.raises(EdgeError, match="no"):
        list(SideBySide(2, lambda each: each[0], run).results(jobs))
    left = [each for each in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(each.info["cmdline"] or ())]
    # The system ends a killed process some time later.
    assert psutil.wait_procs(left, timeout=10)[1] == []


def test_a_child_that_is_given_runs_everything(work: ModuleType, tmp_path: Path) -> None:
    from edgeferry.models.system.child import Child

    with Child() as child:
        jobs = [(group, (group,)) for group in "abc"]
        found = list(SideBySide(2, lambda each: each[0], called(work.where, tmp_path), child).results(jobs))
        assert {pid for _, pid in found} == {child.pid}


def test_nothing_to_do_is_no_error() -> None:
    assert list(SideBySide(2, str, lambda *_: 1 / 0).results([])) == []
