# SPDX-License-Identifier: Apache-2.0
"""Does a compiled artifact output the integers of its parent? At most one step apart, and the same class.

The parent's integers are those of LiteRT's own kernels on this machine, without XNNPACK. Only compiled artifacts are compared
with them: TF Lite 2.5 and 2.7 predict the same classes with the default classifier's tflite-int8, but up to 10 steps apart,
because a softmax makes several steps of one before it.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.results import RUNS
from edgeferry.models.artifact import Artifact, read_artifact
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest, explain_disk_errors, partial_of, sha256_of
from edgeferry.targets.target import Job, integer_target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

PARENT: Final = "tflite-int8"
# The rule: one least significant bit.
MOST_STEPS: Final = 1


@dataclass(frozen=True)
class IntegerComparison:
    """How far integers are from those expected: the largest difference in steps, images of another class, of how many."""

    steps: int
    other_classes: int
    images: int

    @property
    def problem(self) -> str:
        """Return what breaks the rule, or nothing."""
        problems = []
        if self.steps > MOST_STEPS:
            problems.append(f"an integer differs by {self.steps} steps; expected at most {MOST_STEPS}")
        if self.other_classes:
            problems.append(f"{self.other_classes} of {self.images} images have another class than the integers expected")
        return "; ".join(problems)


def compare(found: "NDArray[np.generic]", expected: "NDArray[np.generic]") -> IntegerComparison:
    """Return how far integers [count, classes] are from those expected; equal integers share the first place.

    Raises:
        EdgeError: shape or type differ.
    """
    import numpy as np

    if found.shape != expected.shape or found.dtype != expected.dtype:
        raise EdgeError(
            "EF-integer-shape",
            f"its output is {found.dtype} {found.shape}; expected its parent's, {expected.dtype} {expected.shape}",
        )
    one, other = found.astype(np.int64), expected.astype(np.int64)
    first = (one == one.max(axis=1, keepdims=True)) & (other == other.max(axis=1, keepdims=True))
    return IntegerComparison(int(np.abs(one - other).max(initial=0)), int((~first.any(axis=1)).sum()), len(one))


def expected_integers(build: Path, artifact: Artifact, pixels: Path) -> "NDArray[np.generic]":
    """Return the integers that a compiled artifact is compared with, its parent's.

    They are computed once and kept below ``build/<model>/runs``.

    Raises:
        EdgeError: the parent is not the one it was compiled from, or cannot be run here.
    """
    import numpy as np

    parent = read_artifact(build / PARENT)
    _refuse_another(artifact, parent)
    target = integer_target()
    if why := target.missing():
        raise EdgeError("EF-target-missing", why)
    key = digest([parent.sha256, sha256_of(pixels), dict(target.versions()), CodeDigests().of(target.module)])
    kept = build / RUNS / target.name / f"{PARENT}-{key[:16]}.npy"
    if not kept.is_file():
        _compute(build, pixels, kept)
    integers: NDArray[np.generic] = np.load(kept, allow_pickle=False)
    return integers


def _refuse_another(artifact: Artifact, parent: Artifact) -> None:
    compiled_from = artifact.options.get("parent_sha256")
    if compiled_from != parent.files[parent.main_file]["sha256"]:
        raise EdgeError(
            "EF-artifact-stale", f"stale: it was compiled from another {PARENT} than the one next to it; run `make export-all`"
        )


def _compute(build: Path, pixels: Path, place: Path) -> None:
    import numpy as np

    work = place.with_suffix("")
    with explain_disk_errors(place):
        work.mkdir(parents=True, exist_ok=True)
    job = Job(build / PARENT, pixels, work, warmup=0, rounds=0)
    with Child() as child:
        try:
            run = child.call(integer_target().run, job, log=place.with_suffix(".log"))
        except ChildError as error:
            raise EdgeError("EF-parent-not-run", f"{PARENT} did not run on {integer_target().name}: {error}") from None
    with explain_disk_errors(place):
        for path in work.iterdir():
            path.unlink()
        work.rmdir()
        for old in place.parent.glob(f"{PARENT}-*.npy"):
            old.unlink()
        partial = partial_of(place)
        with partial.open("wb") as file:
            np.save(file, run.stored)
        partial.replace(place)
