# SPDX-License-Identifier: Apache-2.0
"""What a target is, what it is handed and what comes back; which there are: the folder is the registry."""

from collections.abc import Callable, Mapping, Sequence
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


class Unsupported(EdgeError):  # noqa: N818 - an answer, not an accident
    """The target cannot run the artifact, which says nothing of it: the runtime is too old, the browser does not start."""


class Absent(Unsupported):
    """The place is not to be had at the moment: no connection, no device. It is asked anew the next time."""


@dataclass(frozen=True)
class Job:
    """An artifact's whole run: answer every golden image, then be timed on one of them.

    ``pixels`` is an .npy file, uint8, [count, height, width, channels], before normalisation. ``warmup`` and ``rounds`` are
    calls; the first call of all is timed apart. Where ``settle_s`` is not 0, warm-up goes on for so many seconds, and then until
    the times are stable: what is compiled while it runs becomes faster for a second.
    """

    folder: Path
    pixels: Path
    work: Path
    warmup: int = 3
    rounds: int = 30
    threads: int = 1
    accelerator: str | None = None
    settle_s: float = 0.0

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
class Run:
    """What came back: raw answers and raw times.

    ``scores`` are the artifact's own outputs, dequantized, [count, classes], float32, in the artifact's own order; ``labels``
    those found in the file itself, or None where the format has no place for them. Times are in milliseconds and end when the
    answer is in host memory. ``environment`` says what really ran: runtime, version, threads, delegate or backend. ``answered``
    says which golden images the scores are of, where not of all: a GPU made of software is asked a few. ``stored`` are the
    integers as the file answers them, where they are held to those of its integer parent.
    """

    scores: "NDArray[np.float32]"
    labels: tuple[str, ...] | None
    latencies_ms: tuple[float, ...]
    first_ms: float
    load_ms: float
    environment: Mapping[str, Any] = field(default_factory=dict)
    answered: tuple[int, ...] | None = None
    stored: "NDArray[np.generic] | None" = None


@dataclass(frozen=True)
class Operation:
    """What one operation of an artifact takes of an answer, in milliseconds, by the runtime's own profiler and names."""

    name: str
    kind: str
    ms: float


@dataclass(frozen=True)
class Session:
    """An artifact that is loaded and can be asked call by call.

    ``ready`` puts an image where the runtime reads it and returns the call that answers it; the call ends with the answer, raw,
    [1, classes], in host memory. Images are float32, [1, height, width, channels], normalised, where ``images`` gives no others.
    ``as_scores`` turns raw answers, [count, classes], into scores. ``keeps_integers`` says that raw answers are what the file's
    own kernels answer, which compiled files are held to. ``takes_batches`` says that ``ready`` also takes several images in one
    array, [count, height, width, channels].
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

    ``reads`` names the kinds of artifact it takes, or single formats. ``missing()`` says why it cannot run here and how to change
    that, or None; it is cheap and imports no framework. ``run(job)`` is called in a child process. ``versions()`` says what its
    results depend on. A target that is not ``by_default`` runs when it is named. ``open(job)`` is there where the target
    runs in this process and can be asked in turns with others; places that time themselves have none. ``profile(job)`` is there
    where the runtime tells what each operation takes, ``arena(job)`` where it tells, in bytes, what it plans for tensors.
    ``module`` is set by the registry.
    """

    name: str
    summary: str
    reads: frozenset[str]
    missing: Callable[[], str | None]
    run: Callable[[Job], Run]
    versions: Callable[[], Mapping[str, str]]
    by_default: bool = True
    open: Callable[[Job], Session] | None = None
    profile: Callable[[Job], Sequence[Operation]] | None = None
    arena: Callable[[Job], int | None] | None = None
    module: str = ""

    def takes(self, artifact: Artifact) -> bool:
        """Say whether it reads an artifact, by its kind or its format."""
        return bool(self.reads & {artifact.kind, artifact.format})


@cache
def targets() -> dict[str, Target]:
    """Return every target by name; imports no framework."""
    found = [replace(record, module=module) for module, record in records_in(edgeferry.targets, "TARGETS")]
    return {target.name: target for target in sorted(found, key=lambda target: target.name)}


def choose(names: tuple[str, ...] | None) -> tuple[Target, ...]:
    """Return the targets named, or all that are asked by default.

    Raises:
        EdgeError: a name is not a target.
    """
    known = targets()
    refuse_unknown(names or (), known, "target")
    return tuple(target for target in known.values() if (target.name in names if names else target.by_default))
