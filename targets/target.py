# SPDX-License-Identifier: Apache-2.0
"""The records that all targets share: Job (what to run), Run (the result) and Target; the registry of targets is this folder."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import edgeferry.targets
from edgeferry.models.artifact import Artifact, read_artifact
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.registry import records_in, refuse_unknown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Unsupported(EdgeError):  # noqa: N818 - a result, not an accident
    """The target cannot run the artifact, which says nothing about it: the runtime is too old, the browser does not start."""


class Absent(Unsupported):
    """The target is not available at the moment: no connection, no device. The next run tries again."""


@dataclass(frozen=True)
class Job:
    """One run of an artifact: predict every golden image, then time one of them.

    ``pixels`` is an .npy file, uint8, [count, height, width, channels], before normalisation. ``warmup`` and ``rounds`` count
    calls; the very first call is timed separately. Where ``settle_s`` is not 0, warm-up goes on for that many seconds, and then
    until the times are stable: just-in-time compilers make a runtime faster for a second. ``reference`` is the reference's folder
    where the run is to be judged: then some images also run in batches, and an endpoint is sent whole files. Where only some
    images can run, its order says which. ``asks_for_quiet`` is true where other jobs run at the same time, so that it asks for a
    quiet machine (``edgeferry.targets.quiet``) before it times. ``code`` is a custom module that a Keras file may run. ``part``
    is the first image to predict and the one after the last, where others run elsewhere (``Target.splits``).
    """

    folder: Path
    pixels: Path
    work: Path
    warmup: int = 3
    rounds: int = 30
    threads: int = 1
    accelerator: str | None = None
    settle_s: float = 0.0
    reference: Path | None = None
    asks_for_quiet: bool = False
    code: str | None = None
    part: tuple[int, int] | None = None

    @property
    def artifact(self) -> Artifact:
        """Return the artifact's manifest."""
        return read_artifact(self.folder)

    @property
    def main_file(self) -> Path:
        """Return the file a runtime opens."""
        return self.folder / self.artifact.main_file

    def images(self) -> "NDArray[np.uint8]":
        """Return the golden pixels, mapped, not read: uint8, [count, height, width, channels]."""
        import numpy as np

        images: NDArray[np.uint8] = np.load(self.pixels, mmap_mode="r")
        return images


@dataclass(frozen=True)
class BatchedScores:
    """The scores of images that ran in batches: the numbers of the images of each batch, and a row for every image in turn."""

    batches: tuple[tuple[int, ...], ...]
    scores: "NDArray[np.float32]"


@dataclass(frozen=True)
class Run:
    """The result of a job: raw scores and raw times.

    ``scores`` are the artifact's own outputs, dequantized, [count, classes], float32, in the artifact's own order; ``labels``
    those found in the file itself, or None where the format has no place for them. Times are in milliseconds and end when the
    output is in host memory. ``environment`` names what really ran: runtime, version, threads, delegate or backend.
    ``image_indices`` names the golden images that the scores are of, or is None for all: a software-rendered GPU runs only a few.
    ``stored`` holds the integers as the file outputs them, where they can be compared with those of the file's integer parent.
    ``batched`` are scores of images that also ran in batches, where the file takes these. ``uploads`` are the probabilities of
    the files to upload, in the order of ``edgeferry.models.golden.uploads.files_in``, NaN where a file was refused.
    """

    scores: "NDArray[np.float32]"
    labels: tuple[str, ...] | None
    latencies_ms: tuple[float, ...]
    first_ms: float
    load_ms: float
    environment: Mapping[str, Any] = field(default_factory=dict)
    image_indices: tuple[int, ...] | None = None
    stored: "NDArray[np.generic] | None" = None
    batched: BatchedScores | None = None
    uploads: "NDArray[np.float32] | None" = None


@dataclass(frozen=True)
class OperationTime:
    """How many milliseconds of an inference one operation takes, by the runtime's own profiler and under its own names."""

    name: str
    kind: str
    ms: float


@dataclass(frozen=True)
class Tensors:
    """What a file computes on the way from its input to its output, under the names that the file gives it.

    ``values`` yields for each image every tensor by name, dequantized, float32, with a batch of one; ``ranges`` holds the least
    and the greatest number that a quantized tensor can be. ``kernels`` names what computes them where that is not what the target
    itself runs.
    """

    values: "Iterator[Mapping[str, NDArray[np.float32]]]"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    kernels: str = ""


@dataclass(frozen=True)
class Session:
    """A loaded artifact, ready for single calls.

    ``ready`` puts an image where the runtime reads it and returns the call that runs it; the call ends when the raw output,
    [1, classes], is in host memory. Images are float32, [1, height, width, channels], normalised, unless ``images`` holds others.
    ``as_scores`` turns raw outputs, [count, classes], into scores. ``keeps_integers`` is true where raw outputs are those of the
    runtime's own kernels, with which compiled files are compared. ``takes_batches`` is true where ``ready`` also takes several
    images in one array, [count, height, width, channels].
    """

    ready: "Callable[[NDArray[np.float32]], Callable[[], NDArray[np.generic]]]"
    as_scores: "Callable[[NDArray[np.generic]], NDArray[np.float32]]"
    labels: tuple[str, ...] | None
    load_ms: float
    environment: Mapping[str, Any]
    images: "Sequence[NDArray[np.float32]] | None" = None
    keeps_integers: bool = False
    takes_batches: bool = False


@dataclass(frozen=True)
class Target:
    """A place where artifacts run.

    ``reads`` names the kinds of artifact or single formats that it runs; None is every artifact. ``missing()`` returns why it
    cannot run here and what installs it, or None; it is cheap and imports no framework. ``run(job)`` is called in a child
    process. ``versions()`` returns what its results depend on. A target that is not ``by_default`` is opt-in (``--target NAME``).

    ``side_by_side`` is true where a job may run beside others: it computes on as many cores as the job has threads, and asks for
    a quiet machine before it times. Others, GPUs among them, whose software renderers use every core, run alone and last.

    ``timed`` is false where times mean nothing, on an emulated processor, so that no benchmark runs there.

    ``judged`` is false where outputs are no predictions, so that no table of latencies lists the target. ``computes_integers`` is
    true for the one target whose integers compiled files are compared with. ``downloads`` is true where a run fetches what is not
    installed.

    ``open(job)`` exists where the target runs in this process and can be timed interleaved with others; places that time
    themselves have none. ``profile(job)`` exists where the runtime reports the time of each operation, ``arena(job)`` where it
    reports the bytes that it plans for tensors, ``tensors(job)`` where what it computes in between can be read.
    ``module`` is set by the registry.
    """

    name: str
    summary: str
    reads: frozenset[str] | None
    missing: Callable[[], str | None]
    run: Callable[[Job], Run]
    versions: Callable[[], Mapping[str, str]]
    by_default: bool = True
    judged: bool = True
    side_by_side: bool = False
    timed: bool = True
    computes_integers: bool = False
    downloads: bool = False
    open: Callable[[Job], Session] | None = None
    profile: Callable[[Job], Sequence[OperationTime]] | None = None
    arena: Callable[[Job], int | None] | None = None
    tensors: Callable[[Job], Tensors] | None = None
    module: str = ""

    @property
    def splits(self) -> bool:
        """Return whether its jobs may be for a part of the images: the loop of ``edgeferry.targets.timing`` runs one by one."""
        return self.open is not None and self.side_by_side

    def takes(self, artifact: Artifact) -> bool:
        """Return whether it runs an artifact, by its kind or its format."""
        return self.reads is None or bool(self.reads & {artifact.kind, artifact.format})


@cache
def targets() -> dict[str, Target]:
    """Return every target by name; imports no framework."""
    found = [replace(record, module=module) for module, record in records_in(edgeferry.targets, "TARGETS")]
    return {target.name: target for target in sorted(found, key=lambda target: target.name)}


def choose(names: tuple[str, ...] | None) -> tuple[Target, ...]:
    """Return the targets of these names, or those that run by default.

    Raises:
        EdgeError: a name is not a target.
    """
    known = targets()
    refuse_unknown(names or (), known, "target")
    return tuple(target for target in known.values() if (target.name in names if names else target.by_default))


def integer_target() -> Target:
    """Return the target whose integers compiled files are compared with."""
    (found,) = (target for target in targets().values() if target.computes_integers)
    return found
