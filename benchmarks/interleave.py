# SPDX-License-Identifier: Apache-2.0
"""Artifacts timed in turns, in random order, each in a process of its own, launched anew several times.

Two measurements that follow each other compare two states of the machine; turns compare the artifacts.
"""

import random
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from models.child import Child, ChildError
from models.errors import EdgeError
from models.terminal import Step
from targets.target import Job, Session, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Warm-up goes on until the median of so many calls is no longer lower than that of those before, or for so long.
WINDOW: Final = 10
MOST_WARMUP_S: Final = 5.0
# A turn lasts so long at the least: a clock read costs 0.1 microseconds, and a call may take no more than that.
LEAST_TURN_S: Final = 0.002
TURN_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Contestant:
    """An artifact on a target, as often as it is to be told apart: the same twice makes a null comparison."""

    name: str
    job: Job
    target: str


@dataclass(frozen=True)
class Times:
    """A contestant's times in milliseconds a call, [launches, rounds], by the wall's and by its process's CPU clock.

    ``calls`` is how many calls a turn was made of, the largest of all launches; more than one makes a time a mean.
    """

    wall_ms: "NDArray[np.float64]"
    cpu_ms: "NDArray[np.float64]"
    calls: int
    environment: dict[str, Any]


def time_in_turns(contestants: Sequence[Contestant], launches: int, rounds: int, step: Step) -> dict[str, Times]:
    """Return every contestant's times by name; turns of the same round are pairs.

    Raises:
        EdgeError: a contestant's target cannot be asked in turns, or a contestant did not run, or died.
    """
    import numpy as np

    order = random.Random(0)  # noqa: S311 - an order, not a secret
    taken: dict[str, list[NDArray[np.float64]]] = {each.name: [] for each in contestants}
    told: dict[str, tuple[int, dict[str, Any]]] = {}
    for launch in range(launches):
        with ExitStack() as stack:
            children = {each.name: stack.enter_context(Child()) for each in contestants}
            step(f"launch {launch + 1} of {launches}, {rounds} rounds")
            for each in contestants:
                calls, environment = _call(children[each.name], each, "before its first turn", _load, each.target, each.job)
                told[each.name] = max(calls, told.get(each.name, (0,))[0]), environment
            turns: dict[str, list[tuple[float, float]]] = {each.name: [] for each in contestants}
            for number in range(rounds):
                for each in order.sample(list(contestants), len(contestants)):
                    where = f"in round {number + 1} of launch {launch + 1}"
                    turns[each.name].append(_call(children[each.name], each, where, _turn))
        for name, pairs in turns.items():
            taken[name].append(np.array(pairs).T)
    stacked = {name: np.stack(parts, axis=1) for name, parts in taken.items()}
    return {name: Times(times[0], times[1], *told[name]) for name, times in stacked.items()}


def _call(child: Child, each: Contestant, where: str, function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        return child.call(function, *arguments, log=each.job.work / f"{each.name}.log", timeout_s=TURN_TIMEOUT_S)
    except ChildError as error:
        raise EdgeError(f"{each.name}, {each.job.folder} on {each.target}, ended {where}: {error}") from None


class _Ready:
    """What this process has loaded: one call, and how many of them make a turn."""

    infer: Callable[[], Any]
    calls: int


def _load(target: str, job: Job) -> tuple[int, dict[str, Any]]:
    """Load the artifact in this process and warm it up; return the calls a turn is made of, and what runs it."""
    from targets.timing import normalised_images

    session = opener(target)(job)
    _Ready.infer = session.ready(normalised_images(job)[0])
    _Ready.calls = max(1, int(LEAST_TURN_S / _warm_up(_Ready.infer)))
    return _Ready.calls, dict(session.environment)


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


def _warm_up(infer: Callable[[], Any]) -> float:
    """Call until the times are stable; return the last window's median in seconds."""
    ends, last = time.perf_counter() + MOST_WARMUP_S, float("inf")
    while True:
        now = _median_s(infer)
        if now >= last or time.perf_counter() > ends:
            return max(now, 1e-7)
        last = now


def _median_s(infer: Callable[[], Any]) -> float:
    times = []
    for _ in range(WINDOW):
        start = time.perf_counter()
        infer()
        times.append(time.perf_counter() - start)
    return sorted(times)[WINDOW // 2]


def _turn() -> tuple[float, float]:
    """Return wall and CPU milliseconds a call, after one call that is not timed: the process was asleep."""
    infer, calls = _Ready.infer, _Ready.calls
    infer()
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    for _ in range(calls):
        infer()
    cpu_ms, wall_ms = (time.process_time_ns() - cpu) / 1e6, (time.perf_counter_ns() - wall) / 1e6
    return wall_ms / calls, cpu_ms / calls
