# SPDX-License-Identifier: Apache-2.0
"""One model's latency on every target here, in one run: interleaved iterations, or blocks where a target measures itself."""

import random
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.latency.costs.run import costs_of_files, costs_of_running, costs_reported
from edgeferry.benchmarks.latency.entries import BenchPlan, Entry, Selection, choose_baseline, entries_of, refuse_plan
from edgeferry.benchmarks.latency.interleave import Candidate, Times, ratio_of_times, time_interleaved
from edgeferry.benchmarks.latency.loaded import on_cpu
from edgeferry.benchmarks.latency.ratio import CLOCKS, Clock, Ratio, speed_verdict
from edgeferry.benchmarks.latency.records import (
    BaselineRatio,
    Case,
    CaseState,
    Latencies,
    append_history,
    write_latencies,
)
from edgeferry.benchmarks.parity.judging.expected import read_expected
from edgeferry.benchmarks.parity.judging.verdict import far_off
from edgeferry.benchmarks.parity.one_run import JOB_TIMEOUT_S, few_images, run_job, tidy
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import explain_disk_errors
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Job, Unsupported

if TYPE_CHECKING:
    from edgeferry.benchmarks.latency.machine import State

WORK: Final = "latency"
# Browsers recompile a module into faster code while it runs.
SETTLE_S: Final = 1.0
# The name under which the baseline is timed a second time.
NULL: Final = "baseline again"
INTERRUPTED: Final = "the run was interrupted before it was measured"
SOFTWARE: Final = "a software-rendered GPU, whose times say nothing about any GPU: for parity only"


def measure(selection: Selection, plan: BenchPlan, step: Step, entries: Sequence[Entry] | None = None) -> Latencies:
    """Return the latencies of every selected artifact on every target that reads it; an interruption keeps what was measured.

    ``entries`` names single cases instead.

    Raises:
        EdgeError: nothing was exported there, an artifact is not what was exported, or the plan is impossible.
    """
    from edgeferry.benchmarks.latency.machine import machine, state

    refuse_plan(plan)
    entries = list(entries_of(selection, plan.threads) if entries is None else entries)
    missing = {entry.name: entry.target.missing() for entry in entries}
    here = [entry for entry in entries if missing[entry.name] is None]
    first = choose_baseline(selection.baseline, here)
    baseline = first.name if first else ""
    run = _Run(selection, _few_images(selection.build), plan, step, _units(here, plan, first))
    before = state()
    times, interrupted = run.timed(here, first)
    after = state()
    facts = {**machine(), "before": before.as_json(), "after": after.as_json()}
    cases = [run.case(entry, missing[entry.name], times.get(entry.name, Times())) for entry in entries]
    if plan.costs and not interrupted:
        cases, interrupted = run.with_costs(entries, cases)
    compared, null = _compared(cases, times, baseline)
    return Latencies(
        model=selection.build.name,
        source_sha256=selection.reference().source_sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=facts,
        launches=plan.launches,
        rounds=plan.rounds,
        cases=[_graded(case, (before, after), facts) for case in cases],
        baseline=baseline,
        null=null,
        compared=compared,
        interrupted=interrupted,
    )


def keep(found: Latencies, build: Path) -> bool:
    """Write what was measured, into the history and the report too; return whether there was anything (an earlier run stays).

    Raises:
        EdgeError: the folder cannot be written.
    """
    from edgeferry.benchmarks.parity.rows import REPORT
    from edgeferry.benchmarks.report.report import read_report, write_report

    if not any(case.samples_ms for case in found.cases):
        return False
    write_latencies(found, build)
    append_history(found, build)
    report = None
    with suppress(EdgeError):
        report = read_report(build / REPORT)
    if report is not None:
        write_report(report, build)
    return True


def _few_images(build: Path) -> Path:
    """Return a file with the first golden images, in an empty folder for all that a run leaves."""
    shutil.rmtree(build / WORK, ignore_errors=True)
    with explain_disk_errors(build / WORK):
        (build / WORK).mkdir(parents=True)
        return few_images(build, build / WORK)


@dataclass(frozen=True)
class _Units:
    """How many steps a run counts: launches of single artifacts, first interleaved ones, then blocks; then artifacts' costs."""

    interleaved: int
    blocks: int
    costs: int

    @property
    def total(self) -> int:
        return self.interleaved + self.blocks + self.costs


def _units(here: Sequence[Entry], plan: BenchPlan, first: Entry | None) -> _Units:
    interleaved = sum(entry.target.open is not None for entry in here)
    # The baseline is timed twice.
    timed = plan.launches * (interleaved + (first is not None))
    return _Units(timed, plan.blocks[0] * (len(here) - interleaved), interleaved if plan.costs else 0)


@dataclass(frozen=True)
class _Run:
    """One run on one machine: what is measured, the images, how long to measure, and where progress is shown."""

    selection: Selection
    pixels: Path
    plan: BenchPlan
    step: Step
    units: _Units

    def timed(self, entries: Sequence[Entry], first: Entry | None) -> tuple[dict[str, Times], bool]:
        """Return times by the entries' names, and whether the run was interrupted."""
        times, interrupted = self._interleaved([entry for entry in entries if entry.target.open], first)
        if not interrupted:
            blocks, interrupted = self._in_blocks([entry for entry in entries if not entry.target.open])
            times |= blocks
        return times, interrupted

    def case(self, entry: Entry, missing: str | None, times: Times) -> Case:
        """Return a case from its times."""
        case = replace(
            entry.blank(),
            costs=costs_of_files(
                entry.target.name, Job(self.selection.build / entry.artifact.format, self.pixels, self.selection.build / WORK)
            ),
            load_ms=times.load_ms,
            first_ms=times.first_ms,
            wall_ms=[launch for launch in times.wall_ms if launch],
            cpu_ms=[launch for launch in times.cpu_ms if launch],
            calls=times.calls,
            environment=times.environment,
        )
        if times.problem:
            state: CaseState = "not run" if times.absent and not case.samples_ms else "failed"
            return replace(case, state=state, reason=times.problem)
        if not case.samples_ms:
            return replace(case, reason=missing or (SOFTWARE if times.environment.get("software_gpu") else INTERRUPTED))
        expected = read_expected(self.selection.build / REFERENCE, entry.artifact.labels).probabilities[:1]
        problem = next(filter(None, (far_off(scores, entry.artifact, expected) for scores in times.scores)), "")
        return replace(case, state="failed" if problem else "measured", reason=problem, agrees=not problem)

    def with_costs(self, entries: Sequence[Entry], cases: Sequence[Case]) -> tuple[list[Case], bool]:
        """Return the cases with their costs, where those can be measured, and whether that was interrupted."""
        found = list(cases)
        begun = self.units.interleaved + self.units.blocks
        try:
            for at, (entry, case) in enumerate(zip(entries, cases, strict=True)):
                if case.state == "measured" and case.interleaved:
                    begun += 1
                    self.step(f"measuring costs of {entry.name}", begun, self.units.total)
                    found[at] = self._with_costs(entry, case)
                else:
                    found[at] = replace(case, costs=case.costs | costs_reported(case.environment))
        except KeyboardInterrupt:
            return found, True
        return found, False

    def _with_costs(self, entry: Entry, case: Case) -> Case:
        costs = costs_of_running(entry.target.name, self._job(entry))
        return replace(
            case,
            costs=case.costs | costs.numbers,
            environment=case.environment | costs.facts,
            operations=costs.operations,
            costs_problem=costs.problem,
        )

    def _job(self, entry: Entry) -> Job:
        work = self.selection.build / WORK / f"{entry.artifact.format}-{entry.target.name}-{entry.threads}"
        work.mkdir(parents=True, exist_ok=True)
        folder = self.selection.build / entry.artifact.format
        rounds, code = self.plan.blocks[1], self.selection.code
        return Job(folder, self.pixels, work, rounds=rounds, threads=entry.threads, settle_s=SETTLE_S, code=code)

    def _interleaved(self, entries: Sequence[Entry], first: Entry | None) -> tuple[dict[str, Times], bool]:
        candidates = [Candidate(entry.name, self._job(entry), entry.target.name) for entry in entries]
        candidates += [replace(each, name=NULL) for each in candidates if first and each.name == first.name]

        def step(text: str, number: int = 0, _total: int = 0) -> None:
            self.step(text, number, self.units.total)

        measured = time_interleaved(candidates, self.plan.launches, self.plan.rounds, step)
        return measured.times, measured.interrupted

    def _in_blocks(self, entries: Sequence[Entry]) -> tuple[dict[str, Times], bool]:
        """Return the times of targets that measure themselves, launch by launch in random order."""
        times = {entry.name: Times() for entry in entries}
        order = random.Random(0)  # noqa: S311 - an order, not a secret
        try:
            for launch in range(launches := self.plan.blocks[0]):
                for at, entry in enumerate(order.sample(entries, len(entries)), 1):
                    if times[entry.name].continues:
                        number = self.units.interleaved + launch * len(entries) + at
                        self.step(f"timing {entry.name}, launch {launch + 1} of {launches}", number, self.units.total)
                        self._block(entry, times[entry.name])
                        _not_on_software(entry, entries, times)
        except KeyboardInterrupt:
            return times, True
        return times, False

    def _block(self, entry: Entry, times: Times) -> None:
        job = self._job(entry)
        log = job.work / "run.log"
        try:
            with Child() as child:
                run = child.call(run_job, entry.target.name, job, log=log, timeout_s=JOB_TIMEOUT_S)
        except Unsupported as error:
            times.problem, times.absent = str(error), True
            return
        except (EdgeError, ChildError) as error:
            times.problem = f"it did not run: {error}"
            return
        finally:
            tidy(job.work, log)
        times.environment = dict(run.environment)
        times.load_ms.append(run.load_ms)
        times.first_ms.append(run.first_ms)
        if times.continues:
            times.wall_ms.append(list(run.latencies_ms))
            times.scores.append(run.scores[:1])


def _not_on_software(entry: Entry, entries: Sequence[Entry], times: Mapping[str, Times]) -> None:
    """Leave out the other artifacts on a target that turned out to be a software-rendered GPU: each takes it minutes."""
    environment = times[entry.name].environment
    if environment.get("software_gpu"):
        for other in entries:
            if other.target.name == entry.target.name and not times[other.name].environment:
                times[other.name].environment = dict(environment)


def _compared(cases: Sequence[Case], times: Mapping[str, Times], first: str) -> tuple[list[BaselineRatio], Ratio | None]:
    """Return every case's ratio to the baseline, and the baseline's to itself, each by the clock that decides."""
    baseline = next((case for case in cases if case.name == first and case.state == "measured"), None)
    if baseline is None:
        return [], None
    nulls: dict[Clock, Ratio] = {}
    for clock in CLOCKS:
        with suppress(ValueError):
            nulls[clock] = ratio_of_times(times[first], times[NULL], clock)
    found = []
    for case in cases:
        by = _clock(baseline, case)
        if case.state == "measured" and case.interleaved and case != baseline and by in nulls:
            with suppress(ValueError):
                against = ratio_of_times(times[first], times[case.name], by)
                found.append(
                    BaselineRatio(case.format, case.target, case.threads, against, by, speed_verdict(against, nulls[by]))
                )
    return found, nulls.get(_clock(baseline))


def _clock(*cases: Case) -> Clock:
    """Return the clock that decides: CPU time where one thread of a CPU does all the work, wall time otherwise."""
    return "CPU time" if all(case.threads == 1 and on_cpu(case.environment) for case in cases) else "wall time"


def _graded(case: Case, states: "tuple[State, State]", facts: Mapping[str, Any]) -> Case:
    from edgeferry.benchmarks.latency.warnings import grade, timing_warnings

    if case.state != "measured":
        return case
    warnings = timing_warnings(case, *states, facts)
    return replace(case, warnings=warnings, grade=grade(case, warnings))
