# SPDX-License-Identifier: Apache-2.0
"""Does an artifact stay as fast when it runs without a pause? Last minute against the first: heat, throttling, leaks."""

import itertools
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.latency.entries import Entry, Selection, entries_of, refuse_threads
from edgeferry.benchmarks.latency.interleave import ITERATION_TIMEOUT_S, LOAD_TIMEOUT_S
from edgeferry.benchmarks.latency.loaded import ChildState, load, loaded_in, on_cpu
from edgeferry.benchmarks.latency.machine import State, machine, state
from edgeferry.benchmarks.latency.measure import SETTLE_S
from edgeferry.benchmarks.latency.ratio import CLOCKS, CONFIDENCE, LEAST_EFFECT, RESAMPLES, Clock, Ratio, SpeedVerdict
from edgeferry.benchmarks.latency.sustained import Minute, Second, Sustained
from edgeferry.benchmarks.parity.one_run import few_images, run_job
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import explain_disk_errors
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MINUTE_S: Final = 60.0
LEAST_MINUTES: Final = 2
# Neighbouring seconds are alike: the bootstrap draws blocks of so many, and a minute is six of them.
BLOCK: Final = 10
WORK: Final = "sustained"
# A target that measures itself runs all minutes in one job. How many inferences a minute has follows from this many, then from
# those of a second; somewhat more are run, since only whole minutes count.
LOOK: Final = 64
LOOK_S: Final = 1.0
MORE: Final = 1.25
# A target that becomes slower than so many times is ended.
MOST: Final = 5
# One that becomes faster than its estimate ends before the minutes are full: it runs again, with what this job says of its speed.
TRIES: Final = 3


def sustain(selection: Selection, minutes: int, threads: int, step: Step, minute_s: float = MINUTE_S) -> Sustained:
    """Return how the one selected artifact runs on the one selected target for so many minutes; an interruption keeps the rest.

    Raises:
        EdgeError: it is not one that can run here, or less than 2 minutes.
    """
    if minutes < LEAST_MINUTES:
        raise EdgeError("EF-minute-count", f"--minutes is {minutes}; it must be at least {LEAST_MINUTES}.")
    entry = _only(selection, threads)
    work = selection.build / WORK
    with explain_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        few = few_images(selection.build, work)
    job = Job(selection.build / entry.artifact.format, few, work, threads=threads, code=selection.code)
    taken = _Recording()
    run = _run_in_one_job if entry.target.open is None else _run_here
    try:
        run(taken, entry.target.name, job, (minutes, minute_s), step)
    except KeyboardInterrupt:
        taken.interrupted = True
    except (EdgeError, ChildError) as error:
        taken.problem = f"it ended in minute {len(taken.minutes) + 1}: {error}"
    # A run that ended within a minute has no whole last one.
    ratios = _ratios(taken.parts[0], taken.parts[-1]) if len(taken.parts) > 1 else {}
    if not on_cpu(taken.environment):
        # Where a processor waits for a GPU, its CPU time says nothing about it.
        ratios.pop("CPU time", None)
    return Sustained(
        entry.artifact.format,
        entry.target.name,
        threads,
        entry.artifact.sha256,
        machine(),
        taken.environment,
        taken.seconds,
        taken.minutes,
        ratios,
        {clock: _verdict(found) for clock, found in ratios.items()},
        taken.problem,
        taken.interrupted,
    )


def _only(selection: Selection, threads: int) -> Entry:
    """Return the one case that is selected."""
    refuse_threads(threads)
    entries = list(entries_of(selection, (threads,)))
    if len(entries) != 1:
        selected = ", ".join(entry.name for entry in entries) or "none"
        raise EdgeError(
            "EF-one-case-expected",
            f"expected one artifact on one target; selected: {selected}. Name one --format and one --target.",
        )
    (entry,) = entries
    if why := entry.target.missing():
        raise EdgeError("EF-target-missing", f"{entry.target.name} cannot run here: {why}.")
    return entry


@dataclass
class _Recording:
    """What was measured so far; ``parts`` are the seconds of each whole minute."""

    seconds: list[Second] = field(default_factory=list)
    parts: list[list[Second]] = field(default_factory=list)
    minutes: list[Minute] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    interrupted: bool = False

    def add_minute(self, seconds: list[Second], took_s: float, now: State | None) -> None:
        """Add a whole minute, with the machine's state at its end where the target runs on this machine."""
        cpu_ms = [each.cpu_ms for each in seconds if each.cpu_ms is not None]
        self.parts.append(seconds)
        self.minutes.append(
            Minute(
                statistics.median(each.wall_ms for each in seconds),
                statistics.median(cpu_ms) if cpu_ms else None,
                sum(each.inferences for each in seconds) / took_s,
                now.frequency_mhz if now else None,
                None if now is None else now.gpu.temperature_c if "gpu" in self.environment else now.temperature_c,
            )
        )


def _run_here(taken: _Recording, target: str, job: Job, length: tuple[int, float], step: Step) -> None:
    minutes, minute_s = length
    log = job.work / "run.log"
    with Child() as child:
        loaded = child.call(load, target, job, log=log, timeout_s=LOAD_TIMEOUT_S, with_state=True)
        taken.environment = loaded.environment
        for number in range(minutes):
            step(f"minute {number + 1} of {minutes}: running {job.artifact.format} on {target}", number + 1, minutes)
            begins, first = time.monotonic(), len(taken.seconds)
            while time.monotonic() - begins < minute_s:
                taken.seconds.append(child.call(_run_second, log=log, timeout_s=ITERATION_TIMEOUT_S, with_state=True))
            taken.add_minute(taken.seconds[first:], time.monotonic() - begins, state())


def _run_in_one_job(taken: _Recording, target: str, job: Job, length: tuple[int, float], step: Step) -> None:
    """Record the times of a target that measures itself, all of one job: seconds and minutes are sums of its latencies."""
    minutes, minute_s = length
    log = job.work / "run.log"
    with Child() as child:
        step(f"estimating the speed of {job.artifact.format} on {target}")
        rounds = LOOK
        for seconds in (LOOK_S, MORE * minutes * minute_s):
            short = replace(job, rounds=rounds, settle_s=SETTLE_S)
            look = child.call(run_job, target, short, log=log, timeout_s=LOAD_TIMEOUT_S)
            taken.environment = dict(look.environment)
            if look.environment.get("software_gpu"):
                raise EdgeError("EF-software-gpu", "it ran on a software-rendered GPU, whose times say nothing about any GPU")
            rounds = max(LOOK, math.ceil(seconds * 1000 / statistics.fmean(look.latencies_ms)))
        for _ in range(TRIES):
            step(f"running {job.artifact.format} on {target} for about {minutes} minutes, {rounds:,} inferences")
            long = replace(job, rounds=rounds, warmup=0)
            run = child.call(run_job, target, long, log=log, timeout_s=LOAD_TIMEOUT_S + MOST * minutes * minute_s)
            whole = minutes_of(run.latencies_ms, minute_s)[:minutes]
            if len(whole) == minutes:
                break
            rounds = math.ceil(MORE * minutes * minute_s * 1000 / statistics.fmean(run.latencies_ms))
    taken.environment = dict(run.environment)
    for minute in whole:
        taken.seconds += minute
        taken.add_minute(minute, minute_s, None)
    if len(whole) < minutes:
        taken.problem = f"its speed changed too much to be estimated: {len(whole)} of {minutes} minutes are full"


def minutes_of(latencies_ms: Sequence[float], minute_s: float) -> list[list[Second]]:
    """Return the seconds of each whole minute of consecutive inferences."""
    ends_s = list(itertools.accumulate(each / 1000 for each in latencies_ms))
    timed = zip(ends_s, latencies_ms, strict=True)
    found: list[list[Second]] = []
    for minute, of_minute in itertools.groupby(timed, key=lambda each: int(each[0] / minute_s)):
        if ends_s[-1] >= (minute + 1) * minute_s:
            seconds = itertools.groupby(of_minute, key=lambda each: int(each[0]))
            found.append([_second_of([ms for _, ms in each]) for _, each in seconds])
    return found


def _second_of(latencies_ms: Sequence[float]) -> Second:
    return Second(len(latencies_ms), statistics.median(latencies_ms), None)


def _run_second(child_state: ChildState) -> Second:
    """Return a second of calls of the artifact that this process has loaded."""
    infer = loaded_in(child_state).infer
    walls: list[int] = []
    cpus: list[int] = []
    ends = time.perf_counter() + 1
    while not walls or time.perf_counter() < ends:
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        infer()
        cpus.append(time.process_time_ns() - cpu)
        walls.append(time.perf_counter_ns() - wall)
    return Second(len(walls), statistics.median(walls) / 1e6, statistics.median(cpus) / 1e6)


def _ratios(begun: Sequence[Second], ended: Sequence[Second]) -> dict[Clock, Ratio]:
    """Return the ratios of the last minute's seconds to the first's, each with the interval of a bootstrap over blocks."""
    import numpy as np

    found: dict[Clock, Ratio] = {}
    for clock, name in zip(CLOCKS, ("cpu_ms", "wall_ms"), strict=True):
        times = [[getattr(second, name) for second in part] for part in (begun, ended)]
        # A target that measures itself reports no CPU time, and CPU time may be too short for its clock.
        if all(times[0] + times[1]):
            first, last = map(np.array, times)
            resampled = _resampled_medians(last, 1) / _resampled_medians(first, 2)
            low, high = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
            found[clock] = Ratio(float(np.median(last) / np.median(first)), float(low), float(high))
    return found


def _resampled_medians(times: "NDArray[np.float64]", seed: int) -> "NDArray[np.float64]":
    """Return the medians of resamples of a series, drawn in blocks (Kuensch 1989)."""
    import numpy as np

    block = max(1, min(BLOCK, len(times) // 3))
    generator = np.random.default_rng(seed)
    starts = generator.integers(len(times) - block + 1, size=(RESAMPLES, -(-len(times) // block), 1))
    medians: NDArray[np.float64] = np.median(times[starts + np.arange(block)].reshape(RESAMPLES, -1), axis=1)
    return medians


def _verdict(found: Ratio) -> SpeedVerdict:
    if found.low > 1 and found.ratio > 1 + LEAST_EFFECT:
        return "slower"
    return "faster" if found.high < 1 and found.ratio < 1 / (1 + LEAST_EFFECT) else "inconclusive"
