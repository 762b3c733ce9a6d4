# SPDX-License-Identifier: Apache-2.0
"""The one loop that predicts all golden images and times one of them, for every target that runs in this process."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, Generic, TypeVar, overload

from edgeferry.models.golden.order import read_order
from edgeferry.models.preprocessing import Preprocessing, normalise
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.quiet import quiet
from edgeferry.targets.target import BatchedScores, Job, Run, Session

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# A software-rendered GPU takes up to half a minute per image: it runs images for so long, for longer until there are as many as
# a verdict needs (29 without a difference show that 90 % of all agree), and at least two, which have to differ.
FEW_S: Final = 2.5
LONGEST_S: Final = 15.0
ENOUGH: Final = 29
FEWEST: Final = 2
# Images in each batch that is compared with the same images one by one; two sizes, since a graph may be right for one of them.
BATCHES: Final = (7, 8)
LEAST_BATCH: Final = 2

# Warm-up goes on until the median of this many calls is no longer lower than that of those before, or for this long.
WINDOW: Final = 10
MOST_WARMUP_S: Final = 5.0

Image = TypeVar("Image")
Output = TypeVar("Output")


@dataclass(frozen=True)
class Measured(Generic[Output]):
    """The raw output of every image, and the times of the calls in milliseconds."""

    outputs: list[Output]
    first_ms: float
    latencies_ms: tuple[float, ...]


@dataclass(frozen=True)
class NormalisedImages(Sequence["NDArray[np.float32]"]):
    """Images, float32, [1, height, width, channels], each normalised when it is asked for: all may not fit into memory."""

    pixels: "NDArray[np.uint8]"
    how: Preprocessing

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self.pixels)

    @overload
    def __getitem__(self, at: int) -> "NDArray[np.float32]": ...
    @overload
    def __getitem__(self, at: slice) -> "NormalisedImages": ...
    def __getitem__(self, at: int | slice) -> "NDArray[np.float32] | NormalisedImages":
        """Return one image, or some of them."""
        if isinstance(at, slice):
            return replace(self, pixels=self.pixels[at])
        return normalise(self.pixels[at][None], self.how)


def normalised_images(job: Job) -> NormalisedImages:
    """Return the golden images one by one, normalised."""
    return NormalisedImages(job.images(), job.artifact.preprocessing)


def predict_and_time(ready: Callable[[Image], Callable[[], Output]], images: Sequence[Image], job: Job) -> Measured[Output]:
    """Return every image's output, the first call's time and those of ``job.rounds`` calls after ``job.warmup`` more.

    ``ready`` puts an image where the runtime reads it and returns the call that runs it. That call is what is timed, and its
    output is what is judged; it ends when the output is in host memory.
    """
    first_ms, _ = timed(ready(images[0]))
    outputs = [ready(image)() for image in images]
    inference = ready(images[0])
    with quiet(job.work, asks=job.asks_for_quiet):
        for _ in range(job.warmup):
            inference()
        if job.settle_s:
            warm_up(inference, job.settle_s)
        return Measured(outputs, first_ms, tuple(timed(inference)[0] for _ in range(job.rounds)))


def warm_up(infer: Callable[[], object], least_s: float = 0.0) -> float:
    """Call until ``least_s`` seconds have passed and the times are stable; return the last window's median in seconds."""
    begun, last = time.perf_counter(), float("inf")
    while True:
        now = _median_s(infer, begun + least_s + MOST_WARMUP_S)
        passed = time.perf_counter() - begun - least_s
        if passed > MOST_WARMUP_S or (passed > 0 and now >= last):
            return max(now, 1e-7)
        last = now


def _median_s(infer: Callable[[], object], ends: float) -> float:
    times: list[float] = []
    while len(times) < WINDOW and (not times or time.perf_counter() < ends):
        times.append(timed(infer)[0] / 1000)
    return sorted(times)[len(times) // 2]


def images_of(session: Session, job: Job) -> "Sequence[NDArray[np.float32]]":
    """Return the golden images one by one, as a session takes them."""
    return normalised_images(job) if session.images is None else session.images


def batches_of(job: Job, sizes: Sequence[int] = BATCHES) -> list[list[int]]:
    """Return the numbers of the images in each batch, no image in two of them; none where the run is not to be judged."""
    if job.reference is None:
        return []
    order, batches = read_order(job.reference, len(job.images())), []
    for size in sizes:
        batches.append(order[:size])
        order = order[size:]
    return [batch for batch in batches if len(batch) >= LEAST_BATCH]


def run_of(session: Session, job: Job) -> Run:
    """Return the run of a job by a session."""
    images = images_of(session, job)
    first, last = job.part or (0, len(images))
    run = _run(session, predict_and_time(session.ready, images[first:last], job))
    batches = batches_of(job) if session.takes_batches else []
    return replace(run, batched=_batched(session, images, batches)) if batches else run


def run_few(session: Session, job: Job) -> Run:
    """Return the run of a job by a slow session: as many images as there is time for, those first that are worth most."""
    images = images_of(session, job)
    order = read_order(job.reference, len(images))
    first_ms, first = timed(session.ready(images[order[0]]))
    outputs, last_ms = [first], first_ms
    begun = time.perf_counter()
    for at in order[1:]:
        budget_s = FEW_S if len(outputs) >= ENOUGH else LONGEST_S
        if len(outputs) >= FEWEST and time.perf_counter() - begun > budget_s:
            break
        last_ms, output = timed(session.ready(images[at]))
        outputs.append(output)
    return replace(_run(session, Measured(outputs, first_ms, (last_ms,))), image_indices=tuple(order[: len(outputs)]))


def _run(session: Session, measured: "Measured[NDArray[np.generic]]") -> Run:
    import numpy as np

    outputs = np.concatenate(measured.outputs)
    return Run(
        scores=session.as_scores(outputs),
        labels=session.labels,
        latencies_ms=measured.latencies_ms,
        first_ms=measured.first_ms,
        load_ms=session.load_ms,
        environment=session.environment,
        stored=outputs if session.keeps_integers and np.issubdtype(outputs.dtype, np.integer) else None,
    )


def _batched(session: Session, images: "Sequence[NDArray[np.float32]]", batches: list[list[int]]) -> BatchedScores:
    import numpy as np

    outputs: list[NDArray[np.generic]] = []
    for batch in batches:
        try:
            outputs.append(session.ready(np.concatenate([images[at] for at in batch]))())
        except Exception as error:
            # Each runtime raises errors of its own.
            why = str(error).strip().splitlines() or [type(error).__name__]
            raise EdgeError("EF-batch-failed", f"it ran single images, but not a batch of {len(batch)}: {why[0]}") from error
    return BatchedScores(tuple(map(tuple, batches)), session.as_scores(np.concatenate(outputs)))


def timed(call: Callable[[], Output]) -> tuple[float, Output]:
    """Return how many milliseconds a call took, by a monotonic clock, and what it returned."""
    start = time.perf_counter_ns()
    output = call()
    return (time.perf_counter_ns() - start) / 1e6, output
