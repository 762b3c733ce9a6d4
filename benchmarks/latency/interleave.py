# SPDX-License-Identifier: Apache-2.0
"""Artifacts timed in turns, in random order, each in a process of its own, launched anew several times.

Two measurements that follow each other compare two states of the machine; turns compare the artifacts.
"""

import math
import random
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Final

from edgeferry.benchmarks.latency.ratio import Clock, Ratio, paired_ratio
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Step
from edgeferry.targets.host import nvidia
from edgeferry.targets.target import Job, Session, Unsupported, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A turn lasts so long at the least, and its time is the median of its parts: on a crowded machine another process takes the core
# meanwhile, and the calls after that are slower. A part lasts so long at the least: reading the clocks takes some 3 microseconds.
LEAST_TURN_S: Final = 0.005
LEAST_PART_S: Final = 0.001
# For so long a turn begins with calls that are not timed. On a busy machine the first one takes 1.25 times as long as later ones,
# the second 1.03, since caches hold others' data (MobileNetV2 0.35 at 96 x 96). A GPU falls asleep: after 0.1 s an H100 takes
# 1.7 times as long for the first call of EfficientNet-Lite0, 1.2 for the second, and no longer some milliseconds later.
AWAKE_S: Final = 0.002
GPU_AWAKE_S: Final = 0.02
LOAD_TIMEOUT_S: Final = 600.0
TURN_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Contestant:
    """An artifact on a target, as often as it is to be told apart: the same twice makes a null comparison."""

    name: str
    job: Job
    target: str


@dataclass
class Times:
    """A contestant's times in milliseconds a call, a list a launch, by the wall's and by its process's CPU clock.

    ``calls`` is how many calls a turn was made of, the largest of all launches; where they are several, a time is the median of
    their parts. ``load_ms``, ``first_ms`` (the first call of all) and ``scores``, [1, classes], the answer to the last call that
    was timed, have one entry a launch. ``problem`` says why it ended before its time, with what it had measured by then;
    ``absent`` that it never could run here.
    """

    wall_ms: list[list[float]] = field(default_factory=list)
    cpu_ms: list[list[float]] = field(default_factory=list)
    calls: int = 1
    environment: dict[str, Any] = field(default_factory=dict)
    load_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    scores: "list[NDArray[np.float32]]" = field(default_factory=list)
    problem: str = ""
    absent: bool = False

    @property
    def is_going_on(self) -> bool:
        """Say whether it is to be timed further: what a GPU made of software takes says nothing of any GPU."""
        return not self.problem and not self.environment.get("software_gpu")


@dataclass(frozen=True)
class Loaded:
    """What a process tells of the artifact that it has loaded and warmed up."""

    calls: int
    load_ms: float
    first_ms: float
    environment: dict[str, Any]


@dataclass(frozen=True)
class Taken:
    """Every contestant's times by name; turns of the same round are pairs. An interruption leaves what was taken before it."""

    times: dict[str, Times]
    interrupted: bool


def time_in_turns(contestants: Sequence[Contestant], launches: int, rounds: int, step: Step) -> Taken:
    """Return the times of contestants that take turns; one that does not load, or dies, leaves the others to go on.

    Raises:
        EdgeError: a contestant's target cannot be asked in turns.
    """
    for each in contestants:
        opener(each.target)
    times = {each.name: Times() for each in contestants}
    order = random.Random(0)  # noqa: S311 - an order, not a secret
    try:
        for launch in range(launches if contestants else 0):
            running = [each for each in contestants if times[each.name].is_going_on]
            step(f"launch {launch + 1} of {launches}: {rounds} rounds of {len(running)} artifacts in turns")
            _launch(running, times, (launch, rounds), order)
    except KeyboardInterrupt:
        return Taken(times, interrupted=True)
    return Taken(times, interrupted=False)


def on_cpu(environment: Mapping[str, Any]) -> bool:
    """Say whether what ran computed on a CPU, by its own threads, so that its CPU time tells what it took."""
    where = (environment.get(name) for name in ("provider", "accelerator", "device"))
    return all(each in {None, "CPU", "CPUExecutionProvider"} for each in where)


def ratio(old: Times, new: Times, clock: Clock) -> Ratio:
    """Return the ratio of two contestants' times, of the launches that both finished, else of the rounds of an unfinished one.

    Raises:
        ValueError: they have not two rounds in common, or a time is not positive.
    """
    import numpy as np

    field_name = {"CPU time": "cpu_ms", "wall time": "wall_ms"}[clock]
    pairs = list(zip(getattr(old, field_name), getattr(new, field_name), strict=False))
    most = max((min(map(len, pair)) for pair in pairs), default=0)
    if most < 2:
        raise ValueError("they have not two rounds in common")
    whole = [(one[:most], other[:most]) for one, other in pairs if min(len(one), len(other)) == most]
    return paired_ratio(*(np.array(side) for side in zip(*whole, strict=True)))


def _launch(running: list[Contestant], times: dict[str, Times], size: tuple[int, int], order: random.Random) -> None:
    """Add one launch's times: a process for each contestant, all of them loaded, then rounds in random order."""
    launch, rounds = size
    with ExitStack() as stack:
        children = {each.name: stack.enter_context(Child()) for each in running}

        def asked(each: Contestant, where: str, function: Callable[..., Any], *arguments: Any) -> Any:
            return _asked(children[each.name], each, times[each.name], (where, function, *arguments))

        for each in running:
            loaded = asked(each, "before its first turn", load, each.target, each.job)
            if loaded is not None:
                _note(times[each.name], loaded)
        for number in range(rounds):
            for each in order.sample(running, len(running)):
                if not times[each.name].is_going_on:
                    continue
                taken = asked(each, f"in round {number + 1} of launch {launch + 1}", turn)
                if taken is not None:
                    times[each.name].wall_ms[-1].append(taken[0])
                    times[each.name].cpu_ms[-1].append(taken[1])
        for each in running:
            if times[each.name].is_going_on:
                _note_end(times[each.name], partial(asked, each, "after its last turn"))


def _note(times: Times, loaded: Loaded) -> None:
    times.wall_ms.append([])
    times.cpu_ms.append([])
    times.load_ms.append(loaded.load_ms)
    times.first_ms.append(loaded.first_ms)
    times.calls = max(loaded.calls, times.calls)
    times.environment = loaded.environment


def _note_end(times: Times, asked: Callable[..., Any]) -> None:
    if (scores := asked(_last_answer)) is not None:
        times.scores.append(scores)
        times.environment |= asked(_clocks) or {}


def _asked(child: Child, each: Contestant, times: Times, call: tuple[Any, ...]) -> Any:
    """Return what a contestant's process answers, or None where that is its end, which is noted."""
    where, function, *arguments = call
    timeout_s = LOAD_TIMEOUT_S if function is load else TURN_TIMEOUT_S
    try:
        return child.call(function, *arguments, log=each.job.work / f"{each.name}.log", timeout_s=timeout_s)
    except Unsupported as error:
        times.problem, times.absent = str(error), True
    except (ChildError, EdgeError) as error:
        times.problem = f"it ended {where}: {error}"
    return None


class Ready:
    """What this process has loaded: one call, how many of them make a turn, and the last answer.

    ``parts`` are the calls of each part of a turn. ``awake_s`` is for how long a turn begins with calls that are not timed;
    ``clocks_mhz`` are an NVIDIA GPU's, after each turn.
    """

    session: Session
    infer: Callable[[], Any]
    parts: tuple[int, ...]
    awake_s: float
    answer: Any
    clocks_mhz: ClassVar[list[int]] = []


def load(target: str, job: Job) -> Loaded:
    """Load the artifact in this process and warm it up; return the calls a turn is made of, and what runs it."""
    from edgeferry.targets.timing import images_of, warm_up

    Ready.session = session = opener(target)(job)
    Ready.infer = session.ready(images_of(session, job)[0])
    start = time.perf_counter_ns()
    Ready.infer()
    first_ms = (time.perf_counter_ns() - start) / 1e6
    call_s = warm_up(Ready.infer)
    part = max(1, math.ceil(LEAST_PART_S / call_s))
    Ready.parts = (part,) * max(1, int(LEAST_TURN_S / (part * call_s)))
    Ready.awake_s = AWAKE_S if on_cpu(session.environment) else GPU_AWAKE_S
    return Loaded(sum(Ready.parts), session.load_ms, first_ms, dict(session.environment))


def opener(target: str) -> Callable[[Job], Session]:
    """Return what opens an artifact on a target.

    Raises:
        EdgeError: the target times itself.
    """
    opened = targets()[target].open
    if opened is None:
        raise EdgeError(f"{target} times itself and cannot be asked in turns; name one of {', '.join(in_turns())}.")
    return opened


def in_turns() -> tuple[str, ...]:
    """Return the names of the targets that can be asked in turns."""
    return tuple(name for name, target in targets().items() if target.open is not None)


def turn() -> tuple[float, float]:
    """Return wall and CPU milliseconds a call, after calls that are not timed: process and device were asleep."""
    infer = Ready.infer
    awake = time.perf_counter() + Ready.awake_s
    infer()
    while time.perf_counter() < awake:
        infer()
    times_ns = [part_ns(infer, calls) for calls in Ready.parts]
    if "gpu" in Ready.session.environment and (clock_mhz := nvidia.clock_mhz()) is not None:
        Ready.clocks_mhz.append(clock_mhz)
    wall_ms, cpu_ms = (statistics.median(times) / 1e6 for times in zip(*times_ns, strict=True))
    return wall_ms, cpu_ms


def part_ns(infer: Callable[[], Any], calls: int) -> tuple[float, float]:
    """Return wall and CPU nanoseconds a call of so many."""
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(calls):
        answer = infer()
    cpu_ns, wall_ns = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    Ready.answer = answer
    return wall_ns / calls, cpu_ns / calls


def _last_answer() -> "NDArray[np.float32]":
    """Return the scores of the last call that was timed, [1, classes]."""
    import numpy as np

    return Ready.session.as_scores(np.asarray(Ready.answer).reshape(1, -1))


def _clocks() -> dict[str, int]:
    """Return how a run's environment names the clock that an NVIDIA GPU had in the turns, and the highest it can have."""
    most_mhz = nvidia.most_clock_mhz() if Ready.clocks_mhz else None
    return {} if most_mhz is None else {"clock_mhz": statistics.median_low(Ready.clocks_mhz), "most_clock_mhz": most_mhz}
