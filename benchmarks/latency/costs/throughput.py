# SPDX-License-Identifier: Apache-2.0
"""Throughput: inferences per second one by one, in batches and concurrently; and what is done before and after each."""

import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.latency.costs.calls import count_calls, first_image, image_for, median_call_ms, runs_on_gpu
from edgeferry.benchmarks.latency.costs.cost import Cost, CostNumbers
from edgeferry.benchmarks.latency.loaded import opener
from edgeferry.benchmarks.report.words import milliseconds, rate
from edgeferry.models.system.cores import cores_allowed
from edgeferry.targets.target import Job, Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BATCH: Final = 8
# A GPU has room for more; sessions that work concurrently each take some hundred megabytes of it.
GPU_BATCH: Final = 64
MOST_ON_GPU: Final = 4


def measure_throughput(target: str, job: Job) -> CostNumbers:
    """Return an artifact's throughput in this process, and the times of what is done before and after an inference.

    Raises:
        EdgeError: the target cannot run it.
    """
    from edgeferry.models.preprocessing import normalise

    normalised, opened = first_image(job), opener(target)
    pixels, preprocessing = job.images()[:1], job.artifact.preprocessing
    session = opened(job)
    image = image_for(session, normalised)
    infer = session.ready(image)
    output = infer()
    count, took_s = count_calls(infer)
    batch = (GPU_BATCH if runs_on_gpu(session) else BATCH) if session.takes_batches else None
    batch_per_s = None if batch is None else _batched(session, image, batch)
    workers = min(cores_allowed() // job.threads, MOST_ON_GPU if runs_on_gpu(session) else sys.maxsize)
    others = [opened(job) for _ in range(workers - 1)]
    return CostNumbers(
        {
            # A target that takes images in a form of its own normalises them within the call.
            "before_ms": None if session.images else median_call_ms(lambda: session.ready(normalise(pixels, preprocessing))),
            "after_ms": median_call_ms(lambda: session.as_scores(output)),
            "serial_per_s": count / took_s,
            "batch": batch,
            "batch_per_s": batch_per_s,
            "workers": workers if others else None,
            "concurrent_per_s": _concurrent([session, *others], image) if others else None,
        }
    )


def _batched(session: Session, image: "NDArray[np.float32]", batch: int) -> float:
    import numpy as np

    infer = session.ready(np.concatenate([image] * batch))
    infer()
    count, took_s = count_calls(infer)
    return batch * count / took_s


def _concurrent(sessions: Sequence[Session], image: "NDArray[np.float32]") -> float:
    calls = [session.ready(image) for session in sessions]
    for call in calls:
        call()
    with ThreadPoolExecutor(len(calls)) as pool:
        start = time.perf_counter()
        counts = list(pool.map(lambda call: count_calls(call)[0], calls))
        return sum(counts) / (time.perf_counter() - start)


COSTS = (
    Cost(
        name="before_ms",
        title="before",
        unit="ms",
        meaning=(
            "normalising an image and passing it to the runtime, where the call does not do that itself; decoding an image file "
            "is included for an endpoint only"
        ),
        text=lambda number, _: milliseconds(number),
        measure=measure_throughput,
    ),
    Cost(
        name="after_ms",
        title="after",
        unit="ms",
        meaning="converting the output to scores",
        text=lambda number, _: milliseconds(number),
        measure=measure_throughput,
    ),
    Cost(
        name="serial_per_s",
        title="one by one",
        unit="images per second",
        meaning="inferences per second, one after another",
        text=lambda number, _: rate(number),
        measure=measure_throughput,
    ),
    Cost(
        name="batch_per_s",
        title="in batches",
        unit="images per second",
        meaning="images per second, several in one array",
        text=lambda number, case: f"{rate(number)} of {case.costs.get('batch') or 0:.0f}",
        measure=measure_throughput,
    ),
    Cost(
        name="concurrent_per_s",
        title="concurrent",
        unit="images per second",
        meaning=(
            "inferences per second of as many threads as cores (on a GPU 4 at most), each with a session of its own; "
            "of an endpoint, over as many connections"
        ),
        text=lambda number, case: f"{rate(number)} by {case.costs.get('workers') or 0:.0f}",
        measure=measure_throughput,
    ),
    Cost(
        name="batch",
        title="batch size",
        unit="images",
        meaning="how many images are in an array",
        text=lambda number, _: f"{number:.0f}",
        measure=measure_throughput,
        is_column=False,
    ),
    Cost(
        name="workers",
        title="workers",
        unit="threads",
        meaning="how many threads, or connections, work concurrently",
        text=lambda number, _: f"{number:.0f}",
        measure=measure_throughput,
        is_column=False,
    ),
)
