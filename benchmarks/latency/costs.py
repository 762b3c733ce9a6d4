# SPDX-License-Identifier: Apache-2.0
"""What an artifact costs beside its latency: memory, energy, what stands before and after a call, throughput, its operations.

Measured after the turns, one artifact at a time in a process of its own; these are figures of their own, not ratios.
"""

import sys
import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.latency.energy import drawn
from edgeferry.benchmarks.latency.interleave import opener
from edgeferry.benchmarks.parity.run import JOB_TIMEOUT_S
from edgeferry.models.artifact import read_artifact
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.cores import cores_allowed
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.host import nvidia
from edgeferry.targets.target import Job, OperationTime, Session, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# How long is counted, for throughput and for energy, whose counters are refreshed every millisecond.
COUNTED_S: Final = 1.0
# A thing that takes microseconds is timed over so many.
REPEATS: Final = 50
BATCH: Final = 8
# A GPU has room for more; sessions that work at once each take some hundred megabytes of it.
GPU_BATCH: Final = 64
MOST_ON_GPU: Final = 4


@dataclass(frozen=True)
class Costs:
    """What one artifact on one target costs; None is what this machine or target does not tell.

    ``memory_bytes`` is the peak of resident memory above what the process held before the runtime was loaded: runtime, weights
    and working memory; ``gpu_memory_bytes`` what it holds on an NVIDIA GPU, as the driver tells. ``arena_bytes`` is what the
    runtime plans for tensors: TF Lite's arena, without what XNNPACK takes for itself; ONNX Runtime's, with the weights that it
    keeps there. ``before_ms`` is what normalising an image and handing it to the runtime takes, None where the call does that;
    ``after_ms`` what making scores of the answer does; decoding an image file is in neither, but for an endpoint, which does it.
    Throughput is answers a second: ``serial_per_s`` one after another, ``batch_per_s`` in arrays of ``batch`` images,
    ``concurrent_per_s`` by ``workers`` threads with a session each, or of an endpoint as many connections. ``energy_mj`` is
    millijoules an answer, of all that ``energy_by`` counts (the processor by RAPL or powermetrics, a board by its INA monitor, a
    GPU by NVML), idle power included.
    """

    memory_bytes: int | None = None
    gpu_memory_bytes: int | None = None
    arena_bytes: int | None = None
    before_ms: float | None = None
    after_ms: float | None = None
    serial_per_s: float | None = None
    batch: int | None = None
    batch_per_s: float | None = None
    workers: int | None = None
    concurrent_per_s: float | None = None
    energy_mj: float | None = None
    energy_by: str | None = None
    operations: list[OperationTime] = field(default_factory=list)
    # Why some of it, or all, was not measured.
    problem: str = ""


def costs_apart(target: str, job: Job) -> Costs:
    """Return what an artifact costs, each part in a process of its own: a profiler or a log slows what runs beside it."""
    log = job.work / "costs.log"
    try:
        costs: Costs = _apart(costs_of, target, job, log)
    except (EdgeError, ChildError) as error:
        return Costs(problem=str(error))
    for name, words, told_by in (("operations", "operations", operations_of), ("arena_bytes", "arena", arena_of)):
        try:
            told = {name: _apart(told_by, target, job, log)}
        except (EdgeError, ChildError) as error:
            told = {"problem": "; ".join(filter(None, [costs.problem, f"no {words}: {error}"]))}
        costs = replace(costs, **told)
    return costs


def costs_of(target: str, job: Job) -> Costs:
    """Return what an artifact costs in this process, which has loaded no runtime yet.

    Raises:
        EdgeError: the target cannot run it.
    """
    from edgeferry.models.preprocessing import normalise

    opened = opener(target)
    pixels, preprocessing = job.images()[:1], job.artifact.preprocessing
    normalised = normalise(pixels, preprocessing)
    before_bytes = _resident_bytes()
    session = opened(job)
    image = normalised if session.images is None else session.images[0]
    infer = session.ready(image)
    answer = infer()
    on_gpu = "gpu" in session.environment
    per_s, energy_mj, energy_by = _serial(infer, by_gpu=on_gpu)
    memory_bytes, gpu_memory_bytes = max(_peak_bytes() - before_bytes, 0), nvidia.held_bytes()
    batch = (GPU_BATCH if on_gpu else BATCH) if session.takes_batches else None
    batch_per_s = None if batch is None else _batched(session, image, batch)
    workers = min(cores_allowed() // job.threads, MOST_ON_GPU if on_gpu else sys.maxsize)
    others = [opened(job) for _ in range(workers - 1)]
    return Costs(
        memory_bytes=memory_bytes,
        gpu_memory_bytes=gpu_memory_bytes,
        # What takes images of its own form normalises them within the call.
        before_ms=None if session.images else _took_ms(lambda: session.ready(normalise(pixels, preprocessing))),
        after_ms=_took_ms(lambda: session.as_scores(answer)),
        serial_per_s=per_s,
        batch=batch,
        batch_per_s=batch_per_s,
        workers=workers if others else None,
        concurrent_per_s=_concurrent([session, *others], image) if others else None,
        energy_mj=energy_mj,
        energy_by=energy_by,
    )


@cache
def compressed_bytes(folder: Path, sha256: str) -> int:
    """Return how many bytes an artifact's files are as gzip packs each, as most of them travel; ``sha256`` is theirs."""
    del sha256  # what the answer is kept by
    total = 0
    for file in read_artifact(folder).files:
        packer = zlib.compressobj(wbits=31)
        with (folder / file).open("rb") as stream:
            while block := stream.read(1 << 20):
                total += len(packer.compress(block))
        total += len(packer.flush())
    return total


def operations_of(target: str, job: Job) -> list[OperationTime]:
    """Return what each operation of an artifact takes, where the target's runtime tells it, else nothing.

    Raises:
        EdgeError: the runtime's profiler does not take this file.
    """
    profile = targets()[target].profile
    return [] if profile is None else list(profile(job))


def arena_of(target: str, job: Job) -> int | None:
    """Return the bytes that a target's runtime plans for an artifact's tensors, where it tells them."""
    arena = targets()[target].arena
    return None if arena is None else arena(job)


def _apart(function: Callable[[str, Job], Any], target: str, job: Job, log: Path) -> Any:
    with Child() as child:
        return child.call(function, target, job, log=log, timeout_s=JOB_TIMEOUT_S)


def _serial(infer: Callable[[], Any], *, by_gpu: bool = False) -> tuple[float, float | None, str | None]:
    """Return answers a second, one after another, millijoules an answer, and what told them."""
    with drawn(by_gpu=by_gpu) as told:
        count, took_s = _counted(infer)
    if told.watts is None:
        return count / took_s, None, None
    return count / took_s, 1000 * told.watts * took_s / count, told.by


def _batched(session: Session, image: "NDArray[np.float32]", batch: int) -> float:
    import numpy as np

    infer = session.ready(np.concatenate([image] * batch))
    infer()
    count, took_s = _counted(infer)
    return batch * count / took_s


def _concurrent(sessions: Sequence[Session], image: "NDArray[np.float32]") -> float:
    calls = [session.ready(image) for session in sessions]
    for call in calls:
        call()
    with ThreadPoolExecutor(len(calls)) as pool:
        start = time.perf_counter()
        counts = list(pool.map(lambda call: _counted(call)[0], calls))
        return sum(counts) / (time.perf_counter() - start)


def _counted(infer: Callable[[], Any]) -> tuple[int, float]:
    """Return how many calls were made in a second or one call, whichever is longer, and the seconds they took."""
    count, start = 0, time.perf_counter()
    while (took_s := time.perf_counter() - start) < COUNTED_S:
        infer()
        count += 1
    return count, took_s


def _took_ms(call: Callable[[], Any]) -> float:
    """Return the median milliseconds of a call."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return sorted(times)[len(times) // 2] / 1e6


def _resident_bytes() -> int:
    import psutil

    return int(psutil.Process().memory_info().rss)


def _peak_bytes() -> int:
    """Return the most memory that this process ever held."""
    if sys.platform == "linux":
        # Not getrusage, which counts what the parent held when it forked.
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
