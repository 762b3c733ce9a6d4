# SPDX-License-Identifier: Apache-2.0
"""Artifacts timed in interleaved iterations, in random order, each in a process of its own that is launched several times.

Two measurements one after the other compare two states of the machine; interleaved iterations compare the artifacts.
"""

import random
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.latency.loaded import LoadReport, gpu_clocks, last_scores, load, opener, time_iteration
from edgeferry.benchmarks.latency.ratio import Clock, Ratio, paired_ratio
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Job, Unsupported

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LOAD_TIMEOUT_S: Final = 600.0
ITERATION_TIMEOUT_S: Final = 120.0


@dataclass(frozen=True)
class Candidate:
    """An artifact on a target, under a name of its own: the same artifact under two names is a comparison with itself."""

    name: str
    job: Job
    target: str


@dataclass
class Times:
    """A candidate's times in milliseconds per call, one list per launch, by the wall clock and its process's CPU clock.

    ``calls`` is the number of calls in an iteration, the largest of all launches; where it is more than one, a time is the median
    of means. ``load_ms``, ``first_ms`` (the first inference) and ``scores``, [1, classes], of the last timed call, have one entry
    per launch. ``problem`` says why it ended early, with what it had measured by then; ``absent`` that it cannot run here at all.
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
    def continues(self) -> bool:
        """Return whether to go on timing it: times of a software-rendered GPU say nothing about any GPU."""
        return not self.problem and not self.environment.get("software_gpu")


@dataclass(frozen=True)
class InterleavedTimes:
    """Every candidate's times by name; iterations of the same round are pairs. An interruption keeps what was measured."""

    times: dict[str, Times]
    interrupted: bool


@dataclass(frozen=True)
class _Running:
    """A candidate, its process in this launch, and where its times go."""

    candidate: Candidate
    child: Child
    times: Times

    def call(self, when: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """Return what a function returns in the process, or None where that ended the process, which is recorded."""
        log = self.candidate.job.work / f"{self.candidate.name}.log"
        timeout_s = LOAD_TIMEOUT_S if function is load else ITERATION_TIMEOUT_S
        try:
            return self.child.call(function, *arguments, log=log, timeout_s=timeout_s, with_state=True)
        except Unsupported as error:
            self.times.problem, self.times.absent = str(error), True
        except (ChildError, EdgeError) as error:
            self.times.problem = f"it ended {when}: {error}"
        return None

    def add_loaded(self, loaded: LoadReport) -> None:
        """Begin a launch."""
        self.times.wall_ms.append([])
        self.times.cpu_ms.append([])
        self.times.load_ms.append(loaded.load_ms)
        self.times.first_ms.append(loaded.first_ms)
        self.times.calls = max(loaded.calls, self.times.calls)
        self.times.environment = loaded.environment

    def add_end(self) -> None:
        """Add what can be read after the last iteration."""
        when = "after its last iteration"
        if (scores := self.call(when, last_scores)) is not None:
            self.times.scores.append(scores)
            self.times.environment |= self.call(when, gpu_clocks) or {}


def time_interleaved(candidates: Sequence[Candidate], launches: int, rounds: int, step: Step) -> InterleavedTimes:
    """Return the times of interleaved candidates; one that does not load, or dies, does not stop the others.

    A step counts launches of single candidates.

    Raises:
        EdgeError: a candidate's target measures itself.
    """
    for each in candidates:
        opener(each.target)
    times = {each.name: Times() for each in candidates}
    order = random.Random(0)  # noqa: S311 - an order, not a secret
    try:
        for launch in range(launches if candidates else 0):
            going_on = [each for each in candidates if times[each.name].continues]
            text = f"launch {launch + 1} of {launches}: timing {len(going_on)} artifacts, {rounds} interleaved rounds"
            step(text, launch * len(candidates) + 1, launches * len(candidates))
            _launch(going_on, times, (launch, rounds), order)
    except KeyboardInterrupt:
        return InterleavedTimes(times, interrupted=True)
    return InterleavedTimes(times, interrupted=False)


def ratio_of_times(old: Times, new: Times, clock: Clock) -> Ratio:
    """Return the ratio of two candidates' times, of the launches that both finished, or of the common rounds of a partial one.

    Raises:
        ValueError: they have fewer than two rounds in common, or a time is not positive.
    """
    import numpy as np

    field_name = {"CPU time": "cpu_ms", "wall time": "wall_ms"}[clock]
    pairs = list(zip(getattr(old, field_name), getattr(new, field_name), strict=False))
    most = max((min(map(len, pair)) for pair in pairs), default=0)
    if most < 2:
        raise ValueError("they have fewer than two rounds in common")
    whole = [(one[:most], other[:most]) for one, other in pairs if min(len(one), len(other)) == most]
    return paired_ratio(*(np.array(side) for side in zip(*whole, strict=True)))


def _launch(candidates: list[Candidate], times: dict[str, Times], size: tuple[int, int], order: random.Random) -> None:
    """Add one launch's times: a process for each candidate, all of them loaded, then rounds in random order."""
    launch, rounds = size
    with ExitStack() as stack:
        running = [_Running(each, stack.enter_context(Child()), times[each.name]) for each in candidates]
        for each in running:
            loaded = each.call("before its first iteration", load, each.candidate.target, each.candidate.job)
            if loaded is not None:
                each.add_loaded(loaded)
        for number in range(rounds):
            for each in order.sample(running, len(running)):
                if each.times.continues:
                    _iterate(each, f"in round {number + 1} of launch {launch + 1}")
        for each in running:
            if each.times.continues:
                each.add_end()


def _iterate(running: _Running, when: str) -> None:
    measured = running.call(when, time_iteration)
    if measured is not None:
        running.times.wall_ms[-1].append(measured[0])
        running.times.cpu_ms[-1].append(measured[1])
