# SPDX-License-Identifier: Apache-2.0
"""One model's latency on every target here, in one run: in turns where a target is asked call by call, in blocks elsewhere."""

import math
import random
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.latency.costs import Costs, compressed_bytes, costs_apart
from edgeferry.benchmarks.latency.entries import Asked, Entry, baseline_of, entries_of
from edgeferry.benchmarks.latency.interleave import Contestant, Times, on_cpu, ratio, time_in_turns
from edgeferry.benchmarks.latency.percentiles import samples_needed
from edgeferry.benchmarks.latency.ratio import Clock, Ratio, verdict
from edgeferry.benchmarks.latency.records import Case, Compared, Latencies, Outcome, append_history, write_latencies
from edgeferry.benchmarks.parity.expected import read_expected
from edgeferry.benchmarks.parity.run import JOB_TIMEOUT_S, few_images, run_job, tidy
from edgeferry.benchmarks.parity.verdict import far_off
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import explain_disk_errors
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Job, Unsupported

if TYPE_CHECKING:
    from edgeferry.benchmarks.latency.machine import State

WORK: Final = "latency"
# Browsers compile a module anew, faster, while it runs.
SETTLE_S: Final = 1.0
LEAST_ROUNDS: Final = 20
MOST_BLOCKS: Final = 3
# What boards, old runtimes and endpoints tell of themselves, with their times.
TOLD_BY_PLACES: Final = ("memory_bytes", "before_ms", "after_ms", "serial_per_s", "workers", "concurrent_per_s")
NULL: Final = "beside itself"
INTERRUPTED: Final = "the run was interrupted before it was its turn"
SOFTWARE: Final = "a GPU made of software, whose times say nothing of any GPU: for parity only"


@dataclass(frozen=True)
class Effort:
    """How long is measured: so many launches, as many rounds as the percentile needs samples, and what else it costs or not."""

    launches: int = 5
    percentile: float = 90
    threads: tuple[int, ...] = (1,)
    costs: bool = False

    @property
    def rounds(self) -> int:
        """Return the rounds of a launch, in turns."""
        return max(LEAST_ROUNDS, math.ceil(samples_needed(self.percentile) / self.launches))

    @property
    def blocks(self) -> tuple[int, int]:
        """Return launches and rounds of what times itself, whose ratios are not told: few launches, which are slow there."""
        launches = min(self.launches, MOST_BLOCKS)
        return launches, max(LEAST_ROUNDS, math.ceil(samples_needed(self.percentile) / launches))


def measure(asked: Asked, effort: Effort, step: Step, entries: Sequence[Entry] | None = None) -> Latencies:
    """Return the latencies of every artifact asked for on every target that reads it; an interruption keeps what there is.

    ``entries`` names single cases in their place.

    Raises:
        EdgeError: nothing was exported there, an artifact is not what was exported, or the effort makes no measurement.
    """
    from edgeferry.benchmarks.latency.machine import machine, state

    _refuse(effort)
    entries = list(entries_of(asked, effort.threads) if entries is None else entries)
    absent = {entry.name: entry.target.missing() for entry in entries}
    here = [entry for entry in entries if absent[entry.name] is None]
    first = baseline_of(asked.baseline, here)
    run = _Run(asked.build, _few_images(asked.build), effort, step)
    before = state()
    times, interrupted = run.timed(here, first)
    after = state()
    facts = {**machine(), "before": before.as_json(), "after": after.as_json()}
    cases = [run.case(entry, absent[entry.name], times.get(entry.name, Times())) for entry in entries]
    if effort.costs and not interrupted:
        cases, interrupted = run.with_costs(entries, cases)
    compared, null = _compared(cases, times, first.name if first else "")
    return Latencies(
        model=asked.build.name,
        source_sha256=asked.reference().source_sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        machine=facts,
        launches=effort.launches,
        rounds=effort.rounds,
        cases=[_graded(case, (before, after), facts) for case in cases],
        baseline=first.name if first else "",
        null=null,
        compared=compared,
        interrupted=interrupted,
    )


def keep(found: Latencies, build: Path) -> bool:
    """Write what was measured, into the history and the report too, and say whether there was anything: an earlier run stays.

    Raises:
        EdgeError: the folder cannot be written.
    """
    from edgeferry.benchmarks.report.report import REPORT, read_report, write_report

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


def _refuse(effort: Effort) -> None:
    if effort.launches < 2:
        raise EdgeError(f"{effort.launches} launch makes no interval; take at least 2.")
    if not 0 < effort.percentile < 100:
        raise EdgeError(f"a percentile is between 0 and 100, not {effort.percentile:g}.")
    if min(effort.threads, default=0) < 1:
        raise EdgeError(f"{min(effort.threads, default=0)} threads compute nothing; name 1 or more.")


def _few_images(build: Path) -> Path:
    """Return a file with the first golden images, in an empty folder for all that a run leaves."""
    shutil.rmtree(build / WORK, ignore_errors=True)
    with explain_disk_errors(build / WORK):
        (build / WORK).mkdir(parents=True)
        return few_images(build, build / WORK)


@dataclass(frozen=True)
class _Run:
    """One run on one machine: where artifacts stand, the images they are asked, how long, and whom to tell."""

    build: Path
    pixels: Path
    effort: Effort
    step: Step

    def timed(self, entries: Sequence[Entry], first: Entry | None) -> tuple[dict[str, Times], bool]:
        """Return times by the entries' names, and whether the run was interrupted."""
        times, interrupted = self._in_turns([entry for entry in entries if entry.target.open], first)
        if not interrupted:
            blocks, interrupted = self._in_blocks([entry for entry in entries if not entry.target.open])
            times |= blocks
        return times, interrupted

    def case(self, entry: Entry, absent: str | None, times: Times) -> Case:
        """Return a case from what was taken."""
        case = replace(
            entry.blank(),
            compressed_bytes=compressed_bytes(self.build / entry.artifact.format, entry.artifact.sha256),
            load_ms=times.load_ms,
            first_ms=times.first_ms,
            wall_ms=[launch for launch in times.wall_ms if launch],
            cpu_ms=[launch for launch in times.cpu_ms if launch],
            calls=times.calls,
            environment=times.environment,
        )
        if times.problem:
            state: Outcome = "not run" if times.absent and not case.samples_ms else "failed"
            return replace(case, state=state, reason=times.problem)
        if not case.samples_ms:
            return replace(case, reason=absent or (SOFTWARE if times.environment.get("software_gpu") else INTERRUPTED))
        expected = read_expected(self.build / REFERENCE, entry.artifact.labels).probabilities[:1]
        problem = next(filter(None, (far_off(scores, entry.artifact, expected) for scores in times.scores)), "")
        return replace(case, state="failed" if problem else "measured", reason=problem, agrees=not problem)

    def with_costs(self, entries: Sequence[Entry], cases: Sequence[Case]) -> tuple[list[Case], bool]:
        """Return the cases with what else they cost, where that can be measured, and whether it was interrupted."""
        found = list(cases)
        try:
            for at, (entry, case) in enumerate(zip(entries, cases, strict=True)):
                if case.state == "measured" and case.in_turns:
                    self.step(f"{entry.name}: memory, throughput, operations")
                    found[at] = replace(case, costs=costs_apart(entry.target.name, self._job(entry)))
                elif told := {name: fact for name in TOLD_BY_PLACES if (fact := case.environment.get(name)) is not None}:
                    found[at] = replace(case, costs=Costs(**told))
        except KeyboardInterrupt:
            return found, True
        return found, False

    def _job(self, entry: Entry) -> Job:
        work = self.build / WORK / f"{entry.artifact.format}-{entry.target.name}-{entry.threads}"
        work.mkdir(parents=True, exist_ok=True)
        folder = self.build / entry.artifact.format
        return Job(folder, self.pixels, work, rounds=self.effort.blocks[1], threads=entry.threads, settle_s=SETTLE_S)

    def _in_turns(self, entries: Sequence[Entry], first: Entry | None) -> tuple[dict[str, Times], bool]:
        contestants = [Contestant(entry.name, self._job(entry), entry.target.name) for entry in entries]
        contestants += [replace(each, name=NULL) for each in contestants if first and each.name == first.name]
        taken = time_in_turns(contestants, self.effort.launches, self.effort.rounds, self.step)
        return taken.times, taken.interrupted

    def _in_blocks(self, entries: Sequence[Entry]) -> tuple[dict[str, Times], bool]:
        """Return the times of what times itself, launch by launch in random order."""
        times = {entry.name: Times() for entry in entries}
        order = random.Random(0)  # noqa: S311 - an order, not a secret
        try:
            for launch in range(launches := self.effort.blocks[0]):
                for entry in order.sample(entries, len(entries)):
                    if times[entry.name].is_going_on:
                        self.step(f"launch {launch + 1} of {launches}: {entry.name}, in one block")
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
        if times.is_going_on:
            times.wall_ms.append(list(run.latencies_ms))
            times.scores.append(run.scores[:1])


def _not_on_software(entry: Entry, entries: Sequence[Entry], times: Mapping[str, Times]) -> None:
    """Leave out the other artifacts on a target that turned out to be a GPU made of software: each takes it minutes."""
    environment = times[entry.name].environment
    if environment.get("software_gpu"):
        for other in entries:
            if other.target.name == entry.target.name and not times[other.name].environment:
                times[other.name].environment = dict(environment)


def _compared(cases: Sequence[Case], times: Mapping[str, Times], first: str) -> tuple[list[Compared], Ratio | None]:
    """Return every case's ratio to the baseline, and the baseline's to itself, each by the clock that may decide."""
    baseline = next((case for case in cases if case.name == first and case.state == "measured"), None)
    if baseline is None:
        return [], None
    nulls: dict[Clock, Ratio] = {}
    for clock in ("CPU time", "wall time"):
        with suppress(ValueError):
            nulls[clock] = ratio(times[first], times[NULL], clock)
    found = []
    for case in cases:
        by = _clock(baseline, case)
        if case.state == "measured" and case.in_turns and case != baseline and by in nulls:
            with suppress(ValueError):
                against = ratio(times[first], times[case.name], by)
                found.append(Compared(case.format, case.target, case.threads, against, by, verdict(against, nulls[by])))
    return found, nulls.get(_clock(baseline))


def _clock(*cases: Case) -> Clock:
    """Return the clock that decides: CPU time tells what an answer takes where one thread of a CPU does all of it."""
    return "CPU time" if all(case.threads == 1 and on_cpu(case.environment) for case in cases) else "wall time"


def _graded(case: Case, states: "tuple[State, State]", facts: Mapping[str, Any]) -> Case:
    from edgeferry.benchmarks.latency.warnings import doubts, grade

    if case.state != "measured":
        return case
    notices = doubts(case, *states, facts)
    return replace(case, warnings=notices, grade=grade(case, notices))
