# SPDX-License-Identifier: Apache-2.0
"""Faults of every family planted in every format, and honest artifacts, as long as there is time."""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.selftest.fault import Fault, choose_faults
from edgeferry.benchmarks.selftest.laboratory import Laboratory, Subject, open_laboratory, subjects, try_fault
from edgeferry.benchmarks.selftest.result import SelfTest
from edgeferry.exporters.format import choose as choose_formats
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.system.child import ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from edgeferry.benchmarks.selftest.trial import Trial

    Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]
    Keep = Callable[[Trial, NDArray[np.float32] | None], None]

SECONDS: Final = 300.0


@dataclass(frozen=True)
class Plan:
    """Which formats, which families of faults, how many seconds at most; empty tuples are everything.

    ``more`` are images apart and their classes, on which the harm of a fault is measured as well. ``keep`` is called with every
    trial and the scores of its artifact for all images, [count, classes], None where there are none: golden images, probes,
    calibration images, and those in ``more``.
    """

    formats: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    seconds: float = SECONDS
    more: "Labelled | None" = None
    keep: "Keep | None" = None


def self_test(spec: ModelSpec, build: Path, plan: Plan, step: Step) -> SelfTest:
    """Return what the check makes of faults planted in copies of a model's artifacts; the artifacts themselves stay as they are.

    Every format gets some faults of every family before any gets more, until the time is over.

    Raises:
        EdgeError: nothing that a target here runs was exported, or a format or family is unknown.
    """
    started = time.monotonic()
    chosen = choose_faults(plan.families)
    choose_formats(plan.formats)
    bench = open_bench(build, (), _silent, reuse=False)
    trials: list[Trial] = []
    with open_laboratory(spec, bench, plan.more) as laboratory:
        step("running the artifacts as they are")
        found = list(subjects(laboratory, build, plan.formats))
        if not found:
            raise EdgeError(
                "EF-selftest-nothing",
                f"{build} holds no artifact that a target here runs; run `edgeferry export-all` first.",
            )
        progress = _Progress(plan, step, started)
        for trial, scores in _trials(laboratory, build, _planned(chosen, found), progress):
            trials.append(trial)
            if plan.keep is not None:
                plan.keep(trial, scores)
    return SelfTest(
        model=build.name,
        source_sha256=bench.reference.source_sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 1),
        golden=bench.reference.images,
        images=len(laboratory.labels),
        artifacts={each.artifact.format: each.artifact.sha256 for each in found},
        trials=tuple(trials),
        untried=dict(progress.untried),
        impossible=dict(progress.impossible),
    )


@dataclass(frozen=True)
class _Progress:
    """When a self-test began, and what of its plan was not tried or is impossible, by format."""

    plan: Plan
    step: Step
    started: float
    untried: Counter[str] = field(default_factory=Counter)
    impossible: Counter[str] = field(default_factory=Counter)


def _planned(chosen: Sequence[Fault], found: Sequence[Subject]) -> list[tuple[Fault, Subject]]:
    return [(fault, each) for fault in chosen for each in found if fault.fits(each.artifact)]


def _trials(
    laboratory: Laboratory, build: Path, planned: Sequence[tuple[Fault, Subject]], progress: _Progress
) -> "Iterator[tuple[Trial, NDArray[np.float32] | None]]":
    for number, (fault, subject) in enumerate(planned, 1):
        form = subject.artifact.format
        if time.monotonic() - progress.started > progress.plan.seconds:
            progress.untried[form] += 1
            continue
        progress.step(f"{form}: {fault.name}", number, len(planned))
        try:
            yield try_fault(laboratory, build, subject, fault)
        except (EdgeError, ChildError):
            progress.impossible[form] += 1


def _silent(_text: str, _number: int = 0, _total: int = 0) -> None:
    """Show nothing: a trial is one step."""
