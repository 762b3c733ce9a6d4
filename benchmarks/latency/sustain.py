# SPDX-License-Identifier: Apache-2.0
"""Does an artifact stay as fast when it is asked without a pause? Minute 1 against the last: heat, throttling, leaks."""

import itertools
import math
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.latency.entries import Asked, Entry, entries_of
from edgeferry.benchmarks.latency.interleave import LOAD_TIMEOUT_S, TURN_TIMEOUT_S, Ready, load, on_cpu
from edgeferry.benchmarks.latency.machine import State, machine, state
from edgeferry.benchmarks.latency.measure import SETTLE_S
from edgeferry.benchmarks.latency.ratio import Clock, Ratio, Verdict
from edgeferry.benchmarks.latency.sustained import Minute, Second, Sustained
from edgeferry.benchmarks.parity.run import few_images, run_job
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import explain_disk_errors
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MINUTE_S: Final = 60.0
# Neighbouring seconds are alike: the bootstrap draws blocks of so many, and a minute is six of them.
BLOCK: Final = 10
RESAMPLES: Final = 4000
# What of a change between minutes is told as one.
LEAST_EFFECT: Final = 0.05
WORK: Final = "sustained"
# What is asked for all minutes at once: by so many answers, and those of a second, it is known how many a minute has, and more of
# them are asked for, since only whole minutes count.
LOOK: Final = 64
LOOK_S: Final = 1.0
MORE: Final = 1.25
# A place that becomes slower than so many times is ended.
MOST: Final = 5
CLOCKS: Final[tuple[Clock, Clock]] = ("CPU time", "wall time")


def sustain(asked: Asked, minutes: int, threads: int, step: Step, minute_s: float = MINUTE_S) -> Sustained:
    """Return what the one artifact on the one target that are asked do for so many minutes; an interruption keeps what there is.

    Raises:
        EdgeError: it is not one that can run here, or less than 2 minutes.
    """
    if minutes < 2:
        raise EdgeError(f"{minutes} minute has no other to be held against; take at least 2.")
    entry = _only(asked, threads)
    work = asked.build / WORK
    with explain_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
        few = few_images(asked.build, work)
    job = Job(asked.build / entry.artifact.format, few, work, threads=threads)
    taken = _Taken()
    ask = _ask_elsewhere if entry.target.open is None else _ask
    try:
        ask(taken, entry.target.name, job, (minutes, minute_s), step)
    except KeyboardInterrupt:
        taken.interrupted = True
    except (EdgeError, ChildError) as error:
        taken.problem = f"it ended in minute {len(taken.minutes) + 1}: {error}"
    # What ended within a minute has no whole last one.
    ratios = _ratios(taken.parts[0], taken.parts[-1]) if len(taken.parts) > 1 else {}
    if not on_cpu(taken.environment):
        # Where a processor waits for a GPU, its time says nothing of it.
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


def _only(asked: Asked, threads: int) -> Entry:
    """Return the one case that is asked for."""
    if threads < 1:
        raise EdgeError(f"{threads} threads compute nothing; name 1 or more.")
    entries = list(entries_of(asked, (threads,)))
    if len(entries) != 1:
        named = ", ".join(entry.name for entry in entries) or "none"
        raise EdgeError(f"one artifact on one target is sustained, and {named} were asked for: name one of each.")
    (entry,) = entries
    if why := entry.target.missing():
        raise EdgeError(f"{entry.target.name} cannot run here: {why}.")
    return entry


@dataclass
class _Taken:
    """What was taken so far; ``parts`` are the seconds of each whole minute."""

    seconds: list[Second] = field(default_factory=list)
    parts: list[list[Second]] = field(default_factory=list)
    minutes: list[Minute] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    interrupted: bool = False

    def add_minute(self, seconds: list[Second], took_s: float, now: State | None) -> None:
        """Add a whole minute, with the state that the machine was in at its end, where it was this one."""
        cpu_ms = [each.cpu_ms for each in seconds if each.cpu_ms is not None]
        self.parts.append(seconds)
        self.minutes.append(
            Minute(
                statistics.median(each.wall_ms for each in seconds),
                statistics.median(cpu_ms) if cpu_ms else None,
                sum(each.answers for each in seconds) / took_s,
                now.frequency_mhz if now else None,
                None if now is None else now.gpu.temperature_c if "gpu" in self.environment else now.temperature_c,
            )
        )


def _ask(taken: _Taken, target: str, job: Job, length: tuple[int, float], step: Step) -> None:
    minutes, minute_s = length
    log = job.work / "run.log"
    with Child() as child:
        loaded = child.call(load, target, job, log=log, timeout_s=LOAD_TIMEOUT_S)
        taken.environment = loaded.environment
        for number in range(minutes):
            step(f"minute {number + 1} of {minutes}: {job.artifact.format} on {target}")
            begins, first = time.monotonic(), len(taken.seconds)
            while time.monotonic() - begins < minute_s:
                taken.seconds.append(child.call(_second, log=log, timeout_s=TURN_TIMEOUT_S))
            taken.add_minute(taken.seconds[first:], time.monotonic() - begins, state())


def _ask_elsewhere(taken: _Taken, target: str, job: Job, length: tuple[int, float], step: Step) -> None:
    """Take the times of a place that times itself, all of one run: seconds and minutes are those of its answers."""
    minutes, minute_s = length
    log = job.work / "run.log"
    with Child() as child:
        step(f"a first look: {job.artifact.format} on {target}")
        rounds = LOOK
        for seconds in (LOOK_S, MORE * minutes * minute_s):
            short = replace(job, rounds=rounds, settle_s=SETTLE_S)
            look = child.call(run_job, target, short, log=log, timeout_s=LOAD_TIMEOUT_S)
            taken.environment = dict(look.environment)
            if look.environment.get("software_gpu"):
                raise EdgeError("it ran on a GPU made of software, whose times say nothing of any GPU")
            rounds = max(LOOK, math.ceil(seconds * 1000 / statistics.fmean(look.latencies_ms)))
        step(f"{rounds:,} answers, some {minutes} minutes: {job.artifact.format} on {target}")
        long = replace(job, rounds=rounds, warmup=0)
        run = child.call(run_job, target, long, log=log, timeout_s=LOAD_TIMEOUT_S + MOST * minutes * minute_s)
    taken.environment = dict(run.environment)
    for minute in minutes_of(run.latencies_ms, minute_s)[:minutes]:
        taken.seconds += minute
        taken.add_minute(minute, minute_s, None)


def minutes_of(latencies_ms: Sequence[float], minute_s: float) -> list[list[Second]]:
    """Return the seconds of each whole minute of answers that follow each other without a pause."""
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


def _second() -> Second:
    """Return what a second of calls is, of what this process has loaded."""
    infer = Ready.infer
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
    """Return the ratios of the last minute's seconds to the first's, each with the 95 % interval of a bootstrap over blocks."""
    import numpy as np

    found: dict[Clock, Ratio] = {}
    for clock, name in zip(CLOCKS, ("cpu_ms", "wall_ms"), strict=True):
        times = [[getattr(second, name) for second in part] for part in (begun, ended)]
        # CPU time is not told of what times itself, and may be too short for its clock.
        if all(times[0] + times[1]):
            first, last = map(np.array, times)
            drawn = _drawn(last, 1) / _drawn(first, 2)
            low, high = np.quantile(drawn, [0.025, 0.975])
            found[clock] = Ratio(float(np.median(last) / np.median(first)), float(low), float(high))
    return found


def _drawn(times: "NDArray[np.float64]", seed: int) -> "NDArray[np.float64]":
    """Return the medians of resamples of a series, drawn in blocks (Kuensch 1989)."""
    import numpy as np

    block = max(1, min(BLOCK, len(times) // 3))
    draw = np.random.default_rng(seed)
    starts = draw.integers(len(times) - block + 1, size=(RESAMPLES, -(-len(times) // block), 1))
    medians: NDArray[np.float64] = np.median(times[starts + np.arange(block)].reshape(RESAMPLES, -1), axis=1)
    return medians


def _verdict(found: Ratio) -> Verdict:
    if found.low > 1 and found.ratio > 1 + LEAST_EFFECT:
        return "slower"
    return "faster" if found.high < 1 and found.ratio < 1 / (1 + LEAST_EFFECT) else "cannot tell"
