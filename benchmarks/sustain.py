# SPDX-License-Identifier: Apache-2.0
"""Does an artifact stay as fast when it is asked without a pause? Minute 1 against the last: heat, throttling, leaks."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.entries import Asked, Entry, entries_of
from benchmarks.harness import REFERENCE
from benchmarks.interleave import LOAD_TIMEOUT_S, TURN_TIMEOUT_S, Ready, load, opener
from benchmarks.machine import machine, state
from benchmarks.ratio import Clock, Ratio, Verdict
from benchmarks.words import milliseconds
from models.child import Child, ChildError
from models.errors import EdgeError
from models.files import told_as_edge_error, write_json
from models.reference import PIXELS
from models.terminal import Step
from targets.target import Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA: Final = 1
SUSTAINED: Final = "sustained.json"
MINUTE_S: Final = 60.0
# Neighbouring seconds are alike: the bootstrap draws blocks of so many, and a minute is six of them.
BLOCK: Final = 10
RESAMPLES: Final = 4000
# What of a change between minutes is told as one.
LEAST_EFFECT: Final = 0.05
WORK: Final = "sustained"
VERDICTS: Final[dict[Verdict, str]] = {"slower": "slower", "faster": "faster", "cannot tell": "no change of 5 % can be told"}
CLOCKS: Final[tuple[Clock, Clock]] = ("CPU time", "wall time")


@dataclass(frozen=True)
class Second:
    """What was asked within a second: how many answers, and the median of their wall and CPU milliseconds."""

    answers: int
    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True)
class Minute:
    """A minute's median of wall and CPU milliseconds an answer, answers a second, and the state of the machine at its end."""

    wall_ms: float
    cpu_ms: float
    answers_per_s: float
    frequency_mhz: float | None
    temperature_c: float | None


@dataclass(frozen=True)
class Sustained:
    """One artifact on one target, asked without a pause; ``last_to_first`` are ratios of the last whole minute to the first."""

    format: str
    target: str
    threads: int
    artifact_sha256: str
    machine: dict[str, Any]
    environment: dict[str, Any]
    seconds: list[Second]
    minutes: list[Minute]
    last_to_first: dict[Clock, Ratio]
    verdicts: dict[Clock, Verdict]
    problem: str = ""
    interrupted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what sustained.json holds."""
        return {"schema": SCHEMA, **asdict(self)}


def sustain(asked: Asked, minutes: int, threads: int, step: Step, minute_s: float = MINUTE_S) -> Sustained:
    """Return what the one artifact on the one target that are asked do for so many minutes; an interruption keeps what there is.

    Raises:
        EdgeError: it is not one that can be asked call by call here, or less than 2 minutes.
    """
    if minutes < 2:
        raise EdgeError(f"{minutes} minute has no other to be held against; take at least 2.")
    entry = _only(asked, threads)
    work = asked.build / WORK
    with told_as_edge_error(work):
        work.mkdir(parents=True, exist_ok=True)
    job = Job(asked.build / entry.artifact.format, asked.build / REFERENCE / PIXELS, work, threads=threads)
    taken = _Taken()
    try:
        _ask(taken, entry.target.name, job, (minutes, minute_s), step)
    except KeyboardInterrupt:
        taken.interrupted = True
    except (EdgeError, ChildError) as error:
        taken.problem = f"it ended in minute {len(taken.minutes) + 1}: {error}"
    # What ended within a minute has no whole last one.
    ratios = _ratios(taken.parts[0], taken.parts[-1]) if len(taken.parts) > 1 else {}
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
    opener(entry.target.name)
    if why := entry.target.missing():
        raise EdgeError(f"{entry.target.name} cannot run here: {why}.")
    return entry


def write_sustained(found: Sustained, build: Path) -> Path:
    """Write sustained.json into a model's build folder, whole or not at all, and return its path.

    Raises:
        EdgeError: the folder cannot be written.
    """
    write_json(build / SUSTAINED, found.as_json())
    return build / SUSTAINED


def told_in_lines(found: Sustained) -> Iterator[str]:
    """Yield what was measured as lines of text."""
    for number, minute in enumerate(found.minutes, 1):
        more = [f"{minute.answers_per_s:,.0f} answers/s", f"CPU {milliseconds(minute.cpu_ms)}"]
        more += [f"{minute.frequency_mhz:.0f} MHz"] if minute.frequency_mhz else []
        more += [f"{minute.temperature_c:.0f} degrees"] if minute.temperature_c else []
        yield f"minute {number}: median {milliseconds(minute.wall_ms)}, {', '.join(more)}"
    for clock, ratio in found.last_to_first.items():
        interval = f"{ratio.ratio:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
        yield f"{clock}, last minute to first: {interval}, {VERDICTS[found.verdicts[clock]]}"
    if "slower" in found.verdicts.values():
        heated = found.verdicts.get("CPU time") == "slower"
        yield "it slows down: " + (
            "its CPU time does too, so the processor does less a second; look at heat, power limits and memory"
            if heated
            else "its CPU time does not, so something else wants the processor; end it and measure again"
        )
    if found.problem:
        yield f"failed: {found.problem}"


@dataclass
class _Taken:
    """What was taken so far; ``parts`` are the seconds of each whole minute."""

    seconds: list[Second] = field(default_factory=list)
    parts: list[list[Second]] = field(default_factory=list)
    minutes: list[Minute] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    problem: str = ""
    interrupted: bool = False


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
            now, mine = state(), taken.seconds[first:]
            taken.parts.append(mine)
            taken.minutes.append(
                Minute(
                    statistics.median(each.wall_ms for each in mine),
                    statistics.median(each.cpu_ms for each in mine),
                    sum(each.answers for each in mine) / (time.monotonic() - begins),
                    now.frequency_mhz,
                    now.temperature_c,
                )
            )


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
        first, last = (np.array([getattr(second, name) for second in part]) for part in (begun, ended))
        if min(first.min(), last.min()) > 0:
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
