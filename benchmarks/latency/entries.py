# SPDX-License-Identifier: Apache-2.0
"""What is to be measured, and how long: every selected artifact, on every target that reads it, with each number of threads."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.latency.records import Case, case_name
from edgeferry.benchmarks.latency.samples import samples_needed
from edgeferry.benchmarks.parity.sound import sound, with_tolerance
from edgeferry.models.artifact import MANIFEST, Artifact
from edgeferry.models.exports import known_exports
from edgeferry.models.reference import REFERENCE, Reference, read_reference
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Target

# The default baseline: the Keras model, as one compiled function.
KERAS_MODEL: Final = ("keras", "keras")
LEAST_LAUNCHES: Final = 2
LEAST_ROUNDS: Final = 20
MOST_BLOCKS: Final = 3


@dataclass(frozen=True)
class Selection:
    """What is to be measured: artifacts by format (none is all), targets, and [format, target] of the baseline.

    ``code`` is a custom module that a Keras file may run.
    """

    build: Path
    formats: tuple[str, ...]
    targets: tuple[Target, ...]
    baseline: tuple[str, str] | None = None
    code: str | None = None

    def reference(self) -> Reference:
        """Return the reference that the artifacts are checked against.

        Raises:
            EdgeError: nothing was exported there.
        """
        reference = read_reference(self.build / REFERENCE)
        if reference is None:
            raise EdgeError(
                "EF-reference-missing", f"{self.build} holds no reference; export the model first with `make export-all`."
            )
        return reference


@dataclass(frozen=True)
class BenchPlan:
    """How long to measure: so many launches, as many rounds as the percentile needs samples; with or without costs."""

    launches: int = 5
    percentile: float = 90
    threads: tuple[int, ...] = (1,)
    costs: bool = False

    @property
    def rounds(self) -> int:
        """Return the interleaved rounds of a launch."""
        return max(LEAST_ROUNDS, math.ceil(samples_needed(self.percentile) / self.launches))

    @property
    def blocks(self) -> tuple[int, int]:
        """Return launches and rounds of a target that measures itself: few launches, which are slow there."""
        launches = min(self.launches, MOST_BLOCKS)
        return launches, max(LEAST_ROUNDS, math.ceil(samples_needed(self.percentile) / launches))


@dataclass(frozen=True)
class Entry:
    """One case to be measured: an artifact, a target, a number of threads."""

    artifact: Artifact
    target: Target
    threads: int

    @property
    def name(self) -> str:
        """Return its name in messages and logs."""
        return case_name(self.artifact.format, self.target.name, self.threads)

    def blank(self) -> Case:
        """Return its case before anything was measured."""
        return Case(
            self.artifact.format,
            self.target.name,
            "not run",
            "",
            interleaved=self.target.open is not None,
            threads=self.threads,
            artifact_sha256=self.artifact.sha256,
        )


def entries_of(selection: Selection, threads: Sequence[int] = (1,)) -> Iterator[Entry]:
    """Yield what there is to measure, by format and target.

    Raises:
        EdgeError: nothing was exported there, or an artifact is stale, damaged, or missing though it was named.
    """
    reference = selection.reference()
    for name in selection.formats or sorted(path.parent.name for path in selection.build.glob(f"*/{MANIFEST}")):
        artifact, problem = sound(selection.build, reference, name)
        if artifact is None or problem:
            raise EdgeError("EF-artifact-unsound", f"{selection.build / name}: {problem}")
        judged = with_tolerance(artifact, known_exports(selection.build).tolerances, reference)
        for target in selection.targets:
            if target.takes(artifact) and target.judged and target.timed:
                yield from (Entry(judged, target, count) for count in threads)


def parse_baseline(text: str | None) -> tuple[str, str] | None:
    """Return [format, target] from FORMAT@TARGET.

    Raises:
        EdgeError: it is not of that form.
    """
    if text is None:
        return None
    form, _, target = text.partition("@")
    if not form or not target:
        raise EdgeError("EF-baseline-form", f"--baseline is {text!r}; expected FORMAT@TARGET, as in keras@keras.")
    return form, target


def choose_baseline(named: tuple[str, str] | None, here: Sequence[Entry]) -> Entry | None:
    """Return the entry that the others are compared with: the named one, or the Keras model, or the first interleaved one.

    Raises:
        EdgeError: the named one is not measured here in interleaved iterations.
    """
    interleaved = [entry for entry in here if entry.target.open]
    wanted = [entry for entry in interleaved if (entry.artifact.format, entry.target.name) == (named or KERAS_MODEL)]
    if named and not wanted:
        available = ", ".join(f"{entry.artifact.format}@{entry.target.name}" for entry in interleaved)
        raise EdgeError(
            "EF-baseline-absent",
            f"--baseline {'@'.join(named)} is not among what is measured here; expected one of {available or 'none'}.",
        )
    return next(iter([*wanted, *interleaved]), None)


def refuse_plan(plan: BenchPlan) -> None:
    """Refuse a plan that measures nothing.

    Raises:
        EdgeError: says which option, what it is and what is expected.
    """
    if plan.launches < LEAST_LAUNCHES:
        raise EdgeError(
            "EF-launch-count", f"--launches is {plan.launches}; it must be at least {LEAST_LAUNCHES}: one launch has no interval."
        )
    if not 0 < plan.percentile < 100:
        raise EdgeError("EF-percentile-range", f"--percentile is {plan.percentile:g}; it must be between 0 and 100.")
    refuse_threads(min(plan.threads, default=0))


def refuse_threads(threads: int) -> None:
    """Refuse a number of threads below 1.

    Raises:
        EdgeError: it is.
    """
    if threads < 1:
        raise EdgeError("EF-thread-count", f"--threads is {threads}; it must be at least 1.")
