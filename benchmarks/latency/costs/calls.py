# SPDX-License-Identifier: Apache-2.0
"""Calls of an artifact, counted and timed in this process, for the costs that are measured while it runs."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from edgeferry.targets.target import Job, Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# How long calls are counted, for throughput and for energy, whose counters are refreshed every millisecond.
COUNTED_S: Final = 1.0
# What takes microseconds is timed over so many calls.
REPEATS: Final = 50


def first_image(job: Job) -> "NDArray[np.float32]":
    """Return the first golden image, normalised: float32, [1, height, width, channels]."""
    from edgeferry.models.preprocessing import normalise

    return normalise(job.images()[:1], job.artifact.preprocessing)


def image_for(session: Session, normalised: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return the image in the form that a session takes."""
    return normalised if session.images is None else session.images[0]


def runs_on_gpu(session: Session) -> bool:
    """Return whether a session computes on an NVIDIA GPU."""
    return "gpu" in session.environment


def count_calls(infer: Callable[[], Any]) -> tuple[int, float]:
    """Return how many calls were made in a second or one call, whichever is longer, and the seconds they took."""
    count, start = 0, time.perf_counter()
    while (took_s := time.perf_counter() - start) < COUNTED_S:
        infer()
        count += 1
    return count, took_s


def median_call_ms(call: Callable[[], Any]) -> float:
    """Return the median milliseconds of a call."""
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return sorted(times)[len(times) // 2] / 1e6
