# SPDX-License-Identifier: Apache-2.0
"""Memory: the peak of the process, what it holds on a GPU."""

import sys
from pathlib import Path

from edgeferry.benchmarks.latency.costs.calls import count_calls, first_image, image_for
from edgeferry.benchmarks.latency.costs.cost import Cost, CostNumbers
from edgeferry.benchmarks.latency.loaded import opener
from edgeferry.benchmarks.report.words import size
from edgeferry.targets.host import nvidia
from edgeferry.targets.target import Job


def measure_memory(target: str, job: Job) -> CostNumbers:
    """Return the memory that an artifact takes in this process, which has loaded no runtime yet.

    Raises:
        EdgeError: the target cannot run it.
    """
    normalised = first_image(job)
    before_bytes = _resident_bytes()
    session = opener(target)(job)
    count_calls(session.ready(image_for(session, normalised)))
    return CostNumbers({"memory_bytes": max(_peak_bytes() - before_bytes, 0), "gpu_memory_bytes": nvidia.held_bytes()})


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


COSTS = (
    Cost(
        name="memory_bytes",
        title="memory",
        unit="bytes",
        meaning="the peak of resident memory above what the process held before the runtime was loaded",
        text=lambda number, _: size(number),
        measure=measure_memory,
    ),
    Cost(
        name="gpu_memory_bytes",
        title="GPU memory",
        unit="bytes",
        meaning="what the process holds on an NVIDIA GPU, as its driver reports: runtime, weights and working memory",
        text=lambda number, _: size(number),
        measure=measure_memory,
    ),
)
