# SPDX-License-Identifier: Apache-2.0
"""Shards: are merged reports those of one machine, also after kills; how long planning takes, and what sharing out costs.

``EDGEFERRY_FLEET`` names a folder that keeps classifiers between runs, ``EDGEFERRY_FLEET_KILLS`` is how many runs are killed,
each at a random moment, ``EDGEFERRY_FLEET_MODELS`` how many models are planned.
"""

import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.fleet.cluster import run_on_dask
from edgeferry.benchmarks.fleet.kept import kept_of
from edgeferry.benchmarks.fleet.plan import read_plan
from edgeferry.benchmarks.fleet.site import Site
from edgeferry.benchmarks.fleet.store import store_of
from edgeferry.benchmarks.fleet.untimed import untimed
from edgeferry.benchmarks.own.gate_models import trained_digits
from edgeferry.benchmarks.own.mobilenet import Size, mobilenet
from edgeferry.benchmarks.parity.rows import REPORT
from edgeferry.benchmarks.report.report import read_report
from edgeferry.exporters.export import export_all
from edgeferry.models.artifact import EXPORTS, MANIFEST
from edgeferry.models.system.files import write_json
from edgeferry.models.system.places import ROOT

FORMATS: Final = ("tflite-float32", "tflite-float16", "tflite-dynamic", "tflite-int8", "onnx-float32")
TARGETS: Final = ("--target", "litert", "--target", "litert-builtin", "--target", "onnxruntime-cpu")
SHARDS: Final = (1, 7, 40)
KILLS: Final = int(os.environ.get("EDGEFERRY_FLEET_KILLS", "20"))
MODELS: Final = int(os.environ.get("EDGEFERRY_FLEET_MODELS", "1000"))
MOST_PLANNING_S: Final = 10.0
MOST_AGAIN_S: Final = 2.0
MOST_ADDED: Final = 0.05
# What a shard may cost by itself: two processes, and the runtimes loaded again.
MOST_SHARD_S: Final = 3.0
ROUNDS: Final = int(os.environ.get("EDGEFERRY_ROUNDS", "3"))
# Two artifacts of a network whose images take some 15 ms each.
LARGE: Final = Size(side=224, alpha=1.0, images=1000)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that holds everything."""
    named = os.environ.get("EDGEFERRY_FLEET")
    return Path(named).absolute() if named else tmp_path_factory.mktemp("fleet")


@pytest.fixture(scope="module")
def build(place: Path) -> Path:
    """Return the build folder of the default classifier, never checked."""
    found = place / "exported" / "digits"
    export_all(trained_digits(place / "digits").spec, found, FORMATS, lambda *_: None)
    return found


def edgeferry(folder: Path, *words: str) -> subprocess.Popen[bytes]:
    """Start the command in a folder, in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "edgeferry", "-q", *words],
        cwd=folder,
        # With bytecode kept, as installed.
        env={name: each for name, each in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"} | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        process_group=0,
    )


def done(folder: Path, *words: str) -> float:
    """Run the command to its end, and return its CPU time and that of what it started, in seconds."""
    process = edgeferry(folder, *words)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, words
    return used.ru_utime + used.ru_stime


def copied(build: Path, folder: Path) -> Path:
    """Return a folder that holds a copy of a build, under its own name."""
    shutil.copytree(build, folder / build.name)
    return folder


def verdicts(folder: Path) -> str:
    """Return the report in a folder as text, apart from what was timed."""
    return json.dumps(untimed(read_report(folder / REPORT)).as_json())


def bench_merged_reports_are_those_of_one_machine(benchmark: Any, build: Path, tmp_path: Path) -> None:
    """Reports merged from shards that ran in random order are byte for byte the same."""
    alone = copied(build, tmp_path / "alone")
    done(alone, "check", "digits", *TARGETS)
    expected = verdicts(alone / "digits")

    def merge() -> list[tuple[int, int, bool]]:
        found = []
        for shards in SHARDS:
            folder = copied(build, tmp_path / str(shards))
            done(folder, "plan", "digits", "--shards", str(shards), *TARGETS)
            numbers = list(range(1, shards + 1))
            random.shuffle(numbers)
            for number in numbers:
                done(folder, "run", "--shard", f"{number}/{shards}")
            done(folder, "merge")
            jobs = sum(1 for _ in read_plan(folder / "plan.json").jobs())
            found.append((shards, jobs, verdicts(folder / "digits") == expected))
        return found

    for shards, jobs, is_same in benchmark.pedantic(merge, rounds=1):
        sys.stderr.write(f"\n{shards} shards, {jobs} jobs: {'the same bytes' if is_same else 'DIFFERENT'}")
        assert is_same


def bench_killed_runs_lose_and_double_nothing(benchmark: Any, build: Path, tmp_path: Path) -> None:
    """Runs that are killed at random moments, with all their children, and started again, until each shard is done."""
    folder = copied(build, tmp_path / "killed")
    done(folder, "check", "digits", *TARGETS)
    expected = verdicts(folder / "digits")
    (folder / "digits" / REPORT).unlink()
    done(folder, "plan", "digits", "--shards", "7", *TARGETS)

    def kill() -> tuple[int, int, int, int]:
        kills = lost = changed = whole = 0
        while kills < KILLS:
            shutil.rmtree(folder / "fleet-cache", ignore_errors=True)
            for number in random.sample(range(1, 8), 7):
                # Up to three kills of a shard, then it may end.
                for _ in range(3):
                    kills += _killed(folder, f"{number}/7") if kills < KILLS else 0
                done(folder, "run", "--shard", f"{number}/7")
            done(folder, "merge")
            whole += 1
            lost += _without_result(folder)
            changed += verdicts(folder / "digits") != expected
        return kills, whole, lost, changed

    kills, whole, lost, changed = benchmark.pedantic(kill, rounds=1)
    sys.stderr.write(f"\n{kills} kills in {whole} rounds of 7 shards: {lost} results lost, {changed} reports changed\n")
    assert (lost, changed) == (0, 0)


def bench_killed_workers_lose_nothing(benchmark: Any, build: Path, tmp_path: Path) -> None:
    """Workers of a Dask cluster on this machine that are killed while they run jobs."""
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    folder = copied(build, tmp_path / "killed")
    done(folder, "check", "digits", *TARGETS)
    expected, kills = verdicts(folder / "digits"), list[int]()
    done(folder, "plan", "digits", "--shards", "7", *TARGETS)

    def kill_some(text: str, _number: int = 0, _total: int = 0) -> None:
        # A worker that just died does not answer.
        with suppress(Exception):
            if text.startswith("ran ") and random.random() < 0.3:
                pids = distributed.default_client().run(os.getpid, on_error="ignore")
                os.kill(random.choice(list(pids.values())), signal.SIGKILL)
                kills.append(1)

    def kill() -> tuple[int, int]:
        rounds = wrong = 0
        while len(kills) < KILLS // 5:
            shutil.rmtree(folder / "fleet-cache", ignore_errors=True)
            (folder / "digits" / REPORT).unlink()
            site = Site(read_plan(folder / "plan.json"), folder, folder, store_of(str(folder / "fleet-cache")), kill_some)
            # What lost its worker too often is an accident, which the next run repeats.
            while run_on_dask(site, range(1, 8), ()).accidents:
                pass
            done(folder, "merge")
            rounds += 1
            wrong += verdicts(folder / "digits") != expected or _without_result(folder) > 0
        return rounds, wrong

    rounds, wrong = benchmark.pedantic(kill, rounds=1)
    sys.stderr.write(f"\n{len(kills)} workers killed in {rounds} rounds: {wrong} reports changed or results lost\n")
    assert not wrong


def _killed(folder: Path, shard: str) -> bool:
    """Start a shard and kill it at a random moment; return whether it was still running then."""
    process = edgeferry(folder, "run", "--shard", shard)
    time.sleep(random.uniform(0.2, 4.0))
    still = process.poll() is None
    if still:
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return still


def _without_result(folder: Path) -> int:
    """Return how many jobs have no whole result, or one too many."""
    ids = {job.id for _, job in read_plan(folder / "plan.json").jobs()}
    kept = [path for path in (folder / "fleet-cache").glob("*/*") if not path.name.startswith(".")]
    return len(ids ^ {path.name for path in kept if kept_of(path.read_bytes())}) + len(kept) - len(ids)


def bench_planning_many_models(benchmark: Any, build: Path, tmp_path: Path) -> None:
    """The CPU time of a plan of many small models, and of another one after a change of one model: it runs in one thread."""
    names = [f"model{number}" for number in range(MODELS)]
    for name in names:
        shutil.copytree(build / "reference", tmp_path / name / "reference")
        shutil.copytree(build / "yardstick", tmp_path / name / "yardstick")
        shutil.copytree(build / "tflite-int8", tmp_path / name / "tflite-int8")
        exports = json.loads((build / EXPORTS).read_text(encoding="utf-8"))
        exports["formats"] = [each for each in exports["formats"] if each["format"] == "tflite-int8"]
        write_json(tmp_path / name / EXPORTS, exports)

    # The first keeps bytecode.
    done(tmp_path, "plan", names[0], "-o", "other.json")
    command = ("plan", *names, "--shards", "40")
    first = benchmark.pedantic(lambda: done(tmp_path, *command), rounds=1)
    (tmp_path / names[7] / "tflite-int8" / MANIFEST).touch()
    again = done(tmp_path, *command)
    sys.stderr.write(f"\n{MODELS} models: planned in {first:.1f} s of CPU time, and after one change in {again:.1f} s\n")
    assert first <= MOST_PLANNING_S
    assert again <= MOST_AGAIN_S


def bench_sharing_out_next_to_a_check(benchmark: Any, place: Path, tmp_path: Path) -> None:
    """How much more CPU time plan, run and merge take than a check of the same: in one shard, and for each of seven."""
    source, build = place / "mobilenet", place / "exported" / "mobilenet"
    source.mkdir(parents=True, exist_ok=True)
    # With random weights its int8 copy is no longer the same classifier.
    formats = ("tflite-float32", "onnx-float32")
    if not (build / EXPORTS).is_file():
        export_all(mobilenet(source, LARGE), build, formats, lambda *_: None)
    command = ("mobilenet", "--format", formats[0], "--format", formats[1], *TARGETS[:2], *TARGETS[4:])
    folders = {shards: copied(build, tmp_path / str(shards)) for shards in (0, 1, 7)}

    def measure(shards: int) -> float:
        folder = folders[shards]
        shutil.rmtree(folder / "fleet-cache", ignore_errors=True)
        parts = [done(folder, "plan", *command, "--shards", str(shards))]
        parts += [done(folder, "run", "--shard", f"{number}/{shards}") for number in range(1, shards + 1)]
        return sum(parts) + done(folder, "merge")

    def rounds() -> list[tuple[float, float, float]]:
        return [(done(folders[0], "check", *command), measure(1), measure(7)) for _ in range(ROUNDS)]

    # The first keeps bytecode and what is known of the weights.
    done(folders[0], "check", *command)
    found = benchmark.pedantic(rounds, rounds=1)
    assert verdicts(folders[0] / "mobilenet") == verdicts(folders[1] / "mobilenet") == verdicts(folders[7] / "mobilenet")
    checking, one, seven = (statistics.median(each) for each in zip(*found, strict=True))
    each = (seven - one) / 6
    sys.stderr.write(
        f"\na check takes {checking:.1f} s of CPU time, plan, run and merge {one:.1f} s in one shard and {seven:.1f} s in seven "
        f"({ROUNDS} rounds): {each:.1f} s for each further shard, {MOST_ADDED:.0%} of {each / MOST_ADDED:.0f} s of work\n"
    )
    assert each <= MOST_SHARD_S
