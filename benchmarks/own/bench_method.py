# SPDX-License-Identifier: Apache-2.0
"""How good the measuring method is: its own overhead, its false claims, and how far its ratios spread on a busy machine.

For comparison, in the same run, pytest-benchmark itself on the same two artifacts, one after the other, for as long as it
chooses.
"""

import json
import multiprocessing
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.latency.compare import ComparisonPlan
from edgeferry.benchmarks.latency.costs.operations import operations_of
from edgeferry.benchmarks.latency.interleave import Candidate, ratio_of_times, time_interleaved
from edgeferry.benchmarks.latency.loaded import load_artifact
from edgeferry.benchmarks.latency.ratio import Ratio, paired_ratio, speed_verdict
from edgeferry.benchmarks.own.mobilenet import mobilenet
from edgeferry.models.reference import PIXELS, REFERENCE
from edgeferry.models.system.child import Child
from edgeferry.targets.target import Job

COMPARISONS: Final = int(os.environ.get("EDGEFERRY_COMPARISONS", "100"))
REPETITIONS: Final = int(os.environ.get("EDGEFERRY_REPETITIONS", "10"))
BY_DEFAULT: Final = ComparisonPlan()
# Other processes: a build or a browser; or a shared machine, at the load at which blocks were found to spread by 8.5 %.
BUSY: Final = {"steady": 3, "in bursts": 3, "crowded": 11}
BURST_S: Final = 2.0
# The first columns of pytest-benchmark's table, which its users compare by.
STATISTICS: Final = ("median", "mean", "min")
MOST_CLAIMS: Final = 0.05
MOST_OVERHEAD_MS: Final = 0.005
MOST_OVERHEAD: Final = 0.005
PYTEST_BENCHMARK: Final = Path(__file__).with_name("pytest_benchmark_alone.py")


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with MobileNetV2 0.35 at 96 x 96 for LiteRT and ONNX Runtime, and for the files of a run."""
    from edgeferry.exporters.export import export_all

    place = tmp_path_factory.mktemp("mobilenet")
    exports = export_all(mobilenet(place), place / "build", ("tflite-float32", "onnx-float32"), lambda *_: None)
    assert {each.state for each in exports} == {"written"}
    (place / "build" / "work").mkdir()
    return place / "build"


def bench_the_harness_itself(benchmark: Any, build: Path) -> None:
    """The time of a call that does nothing in the timing loop, and by how much the loop makes a network's calls longer."""
    nothing = load_artifact("null", _job(build, "tflite-float32"))
    times = benchmark.pedantic(lambda: [nothing.time_iteration()[0] for _ in range(100)], rounds=5, iterations=1)
    with Child() as child:
        found: Ratio = child.call(_against_a_bare_loop, _job(build, "tflite-float32"), log=build / "work" / "log")
    overhead = f"{100 * (found.ratio - 1):+.2f} % [{100 * (found.low - 1):+.2f}, {100 * (found.high - 1):+.2f}] on MobileNetV2"
    sys.stderr.write(
        f"\nthe harness: {1000 * statistics.median(times):.3f} microseconds per call that does nothing, {overhead}\n"
    )
    benchmark.extra_info.update(asdict(found))
    assert statistics.median(times) <= MOST_OVERHEAD_MS
    assert found.ratio - 1 <= MOST_OVERHEAD


def bench_what_the_profilers_add_up_to(benchmark: Any, build: Path) -> None:
    """The sum of the operations' times compared with the latency, each in a process of its own."""
    places = {"litert": "tflite-float32", "onnxruntime-cpu": "onnx-float32"}
    found = benchmark.pedantic(lambda: {target: _added_up(build, form, target) for target, form in places.items()}, rounds=1)
    for target, share in found.items():
        # LiteRT rounds each down to a microsecond, ONNX Runtime's profiler adds some to each: the result is printed, not checked.
        sys.stderr.write(f"\n{target}: its operations add up to {share:.2f} of its latency\n")
    benchmark.extra_info.update(found)


def bench_false_claims(benchmark: Any, build: Path) -> None:
    """An artifact compared with itself, many times: how often a difference is claimed."""
    job = _job(build, "tflite-float32")
    found = benchmark.pedantic(lambda: [_against_itself(job) for _ in range(COMPARISONS)], rounds=1, iterations=1)
    faster, slower = found.count("faster"), found.count("slower")
    sys.stderr.write(f"\n{COMPARISONS} comparisons of an artifact with itself: {faster} faster, {slower} slower\n")
    benchmark.extra_info.update(comparisons=COMPARISONS, faster=faster, slower=slower)
    assert faster + slower <= MOST_CLAIMS * COMPARISONS


@pytest.mark.parametrize("work", BUSY)
def bench_spread_on_a_busy_machine(benchmark: Any, build: Path, work: str) -> None:
    """How far the ratio of ONNX Runtime to LiteRT varies from one repetition to the next: `compare`'s and pytest-benchmark's.

    Each measures as long as it does by default: `compare` for 10 launches, pytest-benchmark for a second per artifact.
    """
    with _busy(work):
        ours, theirs = benchmark.pedantic(lambda: _repeated(build), rounds=1, iterations=1)
    all_of_them = {"ours, interleaved, CPU time": ours} | {
        f"pytest-benchmark, in blocks, {name}": [each[name] for each in theirs] for name in STATISTICS
    }
    spreads = [
        f"{name} {100 * statistics.stdev(ratios) / statistics.mean(ratios):.2f} % ({min(ratios):.3f} to {max(ratios):.3f})"
        for name, ratios in all_of_them.items()
    ]
    sys.stderr.write(
        f"\n{REPETITIONS} repetitions with {BUSY[work]} other processes, {work}: the ratio varies by: {'; '.join(spreads)}\n"
    )
    # The goals are 2 % and a quarter of theirs; the result is printed, not checked.
    benchmark.extra_info.update(ours=ours, theirs=theirs)


def _job(build: Path, form: str) -> Job:
    return Job(build / form, build / REFERENCE / PIXELS, build / "work")


def _against_a_bare_loop(job: Job) -> Ratio:
    """Return how many times as long the calls of an iteration take when they are timed, interleaved with a bare loop of them."""
    loaded = load_artifact("litert", job)
    infer, calls = loaded.infer, sum(loaded.parts)
    loops: dict[str, Callable[[], Any]] = {
        "timed": lambda: [loaded.time_part(each) for each in loaded.parts],
        "bare": lambda: [infer() for _ in range(calls)],
    }
    order = random.Random(0)
    times: dict[str, list[int]] = {name: [] for name in loops}
    for _ in range(200):
        for name in order.sample(sorted(loops), 2):
            start = time.process_time_ns()
            loops[name]()
            times[name].append(time.process_time_ns() - start)
    return paired_ratio(*(np.array(times[name], float).reshape(10, -1) for name in ("bare", "timed")))


def _added_up(build: Path, form: str, target: str) -> float:
    job = _job(build, form)
    latency = statistics.median(time_interleaved([Candidate("own", job, target)], 1, 50, lambda *_: None).times["own"].wall_ms[0])
    with Child() as child:
        operations = child.call(operations_of, target, job, log=build / "work" / "log")
    return float(sum(each.ms for each in operations) / latency)


def _against_itself(job: Job) -> str:
    candidates = [Candidate(name, job, "litert") for name in ("old", "new", "null")]
    times = time_interleaved(candidates, 2, 15, lambda *_: None).times
    found, null = (ratio_of_times(times["old"], times[name], "CPU time") for name in ("new", "null"))
    return speed_verdict(found, null)


def _repeated(build: Path) -> tuple[list[float], list[dict[str, float]]]:
    """Return the ratios of repetitions, ours and pytest-benchmark's by each of its statistics, taken in random order."""
    pair = [
        Candidate("litert", _job(build, "tflite-float32"), "litert"),
        Candidate("onnx", _job(build, "onnx-float32"), "onnxruntime-cpu"),
    ]
    ours: list[float] = []
    theirs: list[dict[str, float]] = []
    order = random.Random(0)
    for _ in range(REPETITIONS):
        for is_ours in order.sample([True, False], 2):
            if is_ours:
                times = time_interleaved(pair, BY_DEFAULT.launches, BY_DEFAULT.rounds, lambda *_: None).times
                ours.append(ratio_of_times(times["litert"], times["onnx"], "CPU time").ratio)
            else:
                theirs.append(_by_pytest_benchmark(build))
    return ours, theirs


def _by_pytest_benchmark(build: Path) -> dict[str, float]:
    written = build / "work" / "theirs.json"
    command = [sys.executable, "-m", "pytest", "-q", str(PYTEST_BENCHMARK), "--benchmark-only", "--benchmark-json", str(written)]
    environment = os.environ | {"EDGEFERRY_ALONE": str(build)}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    stats = {each["name"]: each["stats"] for each in json.loads(written.read_text())["benchmarks"]}
    return {name: stats["bench_onnx"][name] / stats["bench_litert"][name] for name in STATISTICS}


@contextmanager
def _busy(work: str) -> Iterator[None]:
    """Keep some processes working, all the time or in bursts of some seconds, as builds and browsers do."""
    context = multiprocessing.get_context("spawn")
    spinning = [context.Process(target=_spin, args=(work, seed), daemon=True) for seed in range(BUSY[work])]
    for each in spinning:
        each.start()
    try:
        yield
    finally:
        for each in spinning:
            each.kill()
            each.join()


def _spin(work: str, seed: int) -> None:
    draw, ends = random.Random(seed), time.monotonic() + 3600
    while time.monotonic() < ends:
        burst = time.monotonic() + draw.expovariate(1 / BURST_S)
        while time.monotonic() < burst:
            sum(range(10000))
        if work == "in bursts":
            time.sleep(draw.expovariate(1 / BURST_S))
