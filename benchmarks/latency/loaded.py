# SPDX-License-Identifier: Apache-2.0
"""An artifact that is loaded in a child process, and timed there; what is loaded stays in the child's state (see Child.call)."""

import math
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.host import nvidia
from edgeferry.targets.target import Job, Session, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# An iteration lasts at least so long, and its time is the median of its parts: on a crowded machine another process takes the
# core in between, and the calls after that are slower. A part lasts at least so long: reading the clocks takes about 3
# microseconds.
LEAST_ITERATION_S: Final = 0.005
LEAST_PART_S: Final = 0.001
# An iteration begins with untimed calls for so long. On a busy machine the first one takes 1.25 times as long as later ones, the
# second 1.03, since caches hold others' data (MobileNetV2 0.35 at 96 x 96). A GPU falls asleep: after 0.1 s an H100 takes
# 1.7 times as long for the first call of EfficientNet-Lite0, 1.2 for the second, and no longer some milliseconds later.
AWAKE_S: Final = 0.002
GPU_AWAKE_S: Final = 0.02
# The key of the loaded artifact in the child's state.
KEY: Final = "artifact"
ChildState = dict[str, Any]


@dataclass
class LoadedArtifact:
    """One artifact ready to be timed, and what its iterations leave behind.

    ``parts`` are the calls of each part of an iteration. An iteration begins with ``awake_s`` seconds of untimed calls.
    ``output`` is that of the last timed call; ``clocks_mhz`` are an NVIDIA GPU's, one after each iteration.
    """

    session: Session
    infer: Callable[[], Any]
    first_ms: float
    parts: tuple[int, ...]
    awake_s: float
    output: Any = None
    clocks_mhz: list[int] = field(default_factory=list)

    def time_part(self, calls: int) -> tuple[float, float]:
        """Return the mean wall and CPU nanoseconds of so many calls."""
        infer = self.infer
        wall, cpu = time.perf_counter_ns(), time.process_time_ns()
        for _ in range(calls):
            output = infer()
        cpu_ns, wall_ns = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
        self.output = output
        return wall_ns / calls, cpu_ns / calls

    def time_iteration(self) -> tuple[float, float]:
        """Return wall and CPU milliseconds per call, after untimed calls: process and device were asleep."""
        awake = time.perf_counter() + self.awake_s
        self.infer()
        while time.perf_counter() < awake:
            self.infer()
        times_ns = [self.time_part(calls) for calls in self.parts]
        if "gpu" in self.session.environment and (clock_mhz := nvidia.clock_mhz()) is not None:
            self.clocks_mhz.append(clock_mhz)
        wall_ms, cpu_ms = (statistics.median(times) / 1e6 for times in zip(*times_ns, strict=True))
        return wall_ms, cpu_ms


@dataclass(frozen=True)
class LoadReport:
    """What a child process reports of the artifact that it has loaded and warmed up."""

    calls: int
    load_ms: float
    first_ms: float
    environment: dict[str, Any]


def load_artifact(target: str, job: Job) -> LoadedArtifact:
    """Return an artifact loaded in this process and warmed up.

    Raises:
        EdgeError: the target cannot run it, or measures itself.
    """
    from edgeferry.targets.timing import images_of, timed, warm_up

    session = opener(target)(job)
    infer = session.ready(images_of(session, job)[0])
    first_ms, _ = timed(infer)
    call_s = warm_up(infer)
    calls = max(1, math.ceil(LEAST_PART_S / call_s))
    parts = (calls,) * max(1, int(LEAST_ITERATION_S / (calls * call_s)))
    return LoadedArtifact(session, infer, first_ms, parts, AWAKE_S if on_cpu(session.environment) else GPU_AWAKE_S)


def load(state: ChildState, target: str, job: Job) -> LoadReport:
    """Load an artifact and keep it in the child's state; return the calls of an iteration, and what runs it."""
    state[KEY] = loaded = load_artifact(target, job)
    return LoadReport(sum(loaded.parts), loaded.session.load_ms, loaded.first_ms, dict(loaded.session.environment))


def time_iteration(state: ChildState) -> tuple[float, float]:
    """Return wall and CPU milliseconds per call of one iteration of the loaded artifact."""
    return loaded_in(state).time_iteration()


def last_scores(state: ChildState) -> "NDArray[np.float32]":
    """Return the scores of the last timed call, [1, classes]."""
    import numpy as np

    loaded = loaded_in(state)
    return loaded.session.as_scores(np.asarray(loaded.output).reshape(1, -1))


def gpu_clocks(state: ChildState) -> dict[str, int]:
    """Return, for a run's environment, the median clock of an NVIDIA GPU in the iterations, and its highest possible one."""
    clocks_mhz = loaded_in(state).clocks_mhz
    most_mhz = nvidia.most_clock_mhz() if clocks_mhz else None
    return {} if most_mhz is None else {"clock_mhz": statistics.median_low(clocks_mhz), "most_clock_mhz": most_mhz}


def loaded_in(state: ChildState) -> LoadedArtifact:
    """Return the artifact that this process has loaded."""
    loaded: LoadedArtifact = state[KEY]
    return loaded


def opener(target: str) -> Callable[[Job], Session]:
    """Return the function that opens an artifact on a target.

    Raises:
        EdgeError: the target measures itself.
    """
    opened = targets()[target].open
    if opened is None:
        raise EdgeError(
            "EF-target-not-interleaved",
            f"{target} measures itself, so its iterations cannot be interleaved with others; use one of "
            f"{', '.join(interleaving_targets())}.",
        )
    return opened


def interleaving_targets() -> tuple[str, ...]:
    """Return the names of the targets whose iterations can be interleaved with others."""
    return tuple(name for name, target in targets().items() if target.open is not None)


def on_cpu(environment: Mapping[str, Any]) -> bool:
    """Return whether an artifact ran on the process's own CPU threads, so that its CPU time is what an inference takes."""
    devices = (environment.get(name) for name in ("provider", "accelerator", "device"))
    return all(each in {None, "CPU", "CPUExecutionProvider"} for each in devices)
