# SPDX-License-Identifier: Apache-2.0
"""Has an artifact become slower since another run? By its ratio to the same baseline in each run, on the same machine.

Times of two runs are those of two states of a machine, so they are not compared. The ratio to an unchanged baseline, interleaved
with the artifact, does not depend on that state: the ratios of the two runs are compared.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.latency.compare import refuse_minimum_effect
from edgeferry.benchmarks.latency.machine import what_differs
from edgeferry.benchmarks.latency.ratio import (
    Ratio,
    SpeedVerdict,
    interval_text,
    is_regression,
    noise_text,
    speed_text,
    speed_verdict,
)
from edgeferry.benchmarks.latency.records import BaselineRatio, Case, Latencies, read_latencies
from edgeferry.benchmarks.report.latency_text import baseline_ratio
from edgeferry.models.system.errors import EdgeError

# History: 1, the first; 2, a verdict may be "inconclusive" instead of "cannot tell".
SCHEMA: Final = 2
# Entries of a case's environment that its times depend on and the artifact does not; versions of a runtime may be compared.
DECISIVE_ENVIRONMENT: Final = (
    "runtime",
    "threads",
    "provider",
    "accelerator",
    "device",
    "adapter",
    "gpu",
    "delegate",
    "browser",
    "backend",
)


@dataclass(frozen=True)
class CaseChange:
    """One case of both runs: how its ratio to the baseline changed, or in ``reason`` why that was not compared."""

    name: str
    ratio: Ratio | None = None
    verdict: SpeedVerdict | None = None
    is_regression: bool = False
    reason: str = ""


@dataclass(frozen=True)
class RunComparison:
    """What changed between two runs; ``null`` is the noise floor, from each run's comparison of its baseline with itself."""

    old: str
    new: str
    baseline: str
    null: Ratio
    minimum_effect: float
    changes: list[CaseChange]
    notes: list[str] = field(default_factory=list)

    @property
    def is_regression(self) -> bool:
        """Return whether an artifact became slower by more than the minimum effect."""
        return any(change.is_regression for change in self.changes)

    @property
    def is_compared(self) -> bool:
        """Return whether anything was compared."""
        return any(change.ratio for change in self.changes)

    def as_json(self) -> dict[str, Any]:
        """Return what is written as JSON."""
        return {"schema": SCHEMA, **asdict(self), "is_regression": self.is_regression}


def compare_runs(old: Path, new: Path, minimum_effect: float) -> RunComparison:
    """Return how the cases of one latency.json changed to another.

    Raises:
        EdgeError: a file cannot be read, or the runs are of different models, machines or baselines.
    """
    refuse_minimum_effect(minimum_effect)
    before, after = read_latencies(old), read_latencies(new)
    if why := _not_comparable(before, after):
        raise EdgeError(
            "EF-runs-not-comparable",
            f"{old} and {new} are not comparable: {why}. Measure both on the same machine in the same state, or time both "
            "artifacts in one run: `edgeferry compare OLD_FOLDER NEW_FOLDER`.",
        )
    reach = _reach(before, after)
    null = Ratio(1.0, 1 / reach, reach)
    was = {case.name: case for case in before.cases}
    changes = [_change(was[case.name], case, (before, after), null, minimum_effect) for case in after.cases if case.name in was]
    found = [change for change in changes if change.ratio or change.reason]
    return RunComparison(str(old), str(new), after.baseline, null, minimum_effect, found, list(_notes(before, after)))


def lines_of(found: RunComparison) -> Iterator[str]:
    """Yield the changes as lines of text."""
    yield f"old  {found.old}"
    yield f"new  {found.new}"
    yield f"both compared with the baseline {found.baseline}; noise floor (baseline vs itself): {noise_text(found.null)}"
    for change in found.changes:
        if change.ratio is None:
            yield f"not compared: {change.name}: {change.reason}"
        else:
            speed = f"{speed_text(change.ratio)} {interval_text(change.ratio)}"
            yield f"{change.name}, new vs old: {speed}, {change.verdict}{'; a regression' if change.is_regression else ''}"
    yield from (f"note: {note}" for note in found.notes)
    effect = f"a minimum effect of {100 * found.minimum_effect:g} %"
    if not found.is_compared:
        yield "nothing was compared"
    else:
        yield f"{'a regression' if found.is_regression else 'no regression'} beyond {effect}"


def _not_comparable(old: Latencies, new: Latencies) -> str:
    if old.model != new.model:
        return f"one is of {old.model}, the other of {new.model}"
    if differs := what_differs(old.machine, new.machine):
        return f"their machines differ in {differs}"
    if not old.baseline or old.baseline != new.baseline:
        return f"their baselines are {old.baseline or 'none'} and {new.baseline or 'none'}; choose one with --baseline"
    return _baselines_differ(old, new)


def _baselines_differ(old: Latencies, new: Latencies) -> str:
    """Return why the baselines, of one name, are not the same thing in two runs, or ''."""
    one, other = ({case.name: case for case in run.cases}.get(run.baseline) for run in (old, new))
    if one is None or other is None:
        return f"one has no case of its own baseline, {old.baseline}"
    if one.artifact_sha256 != other.artifact_sha256:
        return f"the baseline {old.baseline} is a different artifact in each; choose one that did not change with --baseline"
    if differs := _environment_differs(one.environment, other.environment, (*DECISIVE_ENVIRONMENT, "version", "driver")):
        return f"the baseline {old.baseline} differs in {differs}"
    return "" if old.null and new.null else "one has no comparison of its baseline with itself"


def _environment_differs(one: Mapping[str, Any], other: Mapping[str, Any], names: tuple[str, ...]) -> str:
    """Return the entries in which two environments differ, as text; how many parts a delegate took depends on the artifact."""
    values = [(name, *(str(each.get(name)).partition(" (")[0] for each in (one, other))) for name in names]
    return ", ".join(f"{name} ({was}, {now})" for name, was, now in values if was != now)


def _change(old: Case, new: Case, runs: tuple[Latencies, Latencies], null: Ratio, minimum_effect: float) -> CaseChange:
    if new.name == runs[1].baseline or "not run" in {old.state, new.state}:
        return CaseChange(new.name)
    was, now = baseline_ratio(old, runs[0]), baseline_ratio(new, runs[1])
    if "failed" in {old.state, new.state}:
        return CaseChange(new.name, reason="it failed")
    if was is None or now is None:
        return CaseChange(new.name, reason="it was not interleaved with the baseline")
    if differs := _environment_differs(old.environment, new.environment, DECISIVE_ENVIRONMENT):
        return CaseChange(new.name, reason=f"its environments differ in {differs}")
    if was.by != now.by:
        return CaseChange(new.name, reason=f"one was decided by {was.by}, the other by {now.by}")
    found = _quotient(was, now)
    return CaseChange(new.name, found, speed_verdict(found, null), is_regression(found, null, minimum_effect))


def _quotient(old: BaselineRatio, new: BaselineRatio) -> Ratio:
    """Return the ratio of two independent ratios; the arms of both intervals are added in quadrature, as logarithms."""
    middle = math.log(new.ratio.ratio / old.ratio.ratio)
    low = math.hypot(math.log(new.ratio.ratio / new.ratio.low), math.log(old.ratio.high / old.ratio.ratio))
    high = math.hypot(math.log(new.ratio.high / new.ratio.ratio), math.log(old.ratio.ratio / old.ratio.low))
    return Ratio(math.exp(middle), math.exp(middle - low), math.exp(middle + high))


def _reach(old: Latencies, new: Latencies) -> float:
    reaches = [math.log(run.null.reach) for run in (old, new) if run.null]
    return math.exp(math.hypot(*reaches))


def _notes(old: Latencies, new: Latencies) -> Iterator[str]:
    was, now = ({case.name for case in run.cases} for run in (old, new))
    for heading, names in (("only in the old run", was - now), ("only in the new run", now - was)):
        if names:
            yield f"{heading}: {', '.join(sorted(names))}"
    versions = {
        f"{case.environment.get('runtime')} {before.environment.get('version')} -> {case.environment.get('version')}"
        for case in new.cases
        for before in old.cases
        if case.name == before.name and case.environment.get("version") != before.environment.get("version")
    }
    yield from (f"the version of a runtime changed: {each}" for each in sorted(versions))
