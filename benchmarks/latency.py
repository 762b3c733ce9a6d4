# SPDX-License-Identifier: Apache-2.0
"""One model's latency on every target here, in one run: in turns where a target is asked call by call, in blocks elsewhere."""

import math
import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from benchmarks.harness import JOB_TIMEOUT_S, REFERENCE, run_job
from benchmarks.interleave import Contestant, Times, time_in_turns
from benchmarks.latencies import Case, Clock, Compared, Latencies
from benchmarks.parity import read_answers
from benchmarks.percentiles import samples_needed
from benchmarks.ratio import Ratio, paired_ratio, verdict
from models.artifact import Artifact, read_artifact, what_changed
from models.child import Child, ChildError
from models.errors import EdgeError
from models.reference import PIXELS, Reference, read_reference, softmax
from models.terminal import Step
from targets.target import Job, Target, Unsupported

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from benchmarks.machine import State

WORK: Final = "latency"
# A target that times itself answers so many golden images before it is timed on the first of them.
IMAGES: Final = 8
LEAST_ROUNDS: Final = 30
NULL: Final = "beside itself"
# What copies are compared with where nothing else is named: the original, as one compiled function.
ORIGINAL: Final = ("keras", "keras")


@dataclass(frozen=True)
class Effort:
    """How long is measured: so many launches, and as many rounds as the percentile needs samples."""

    launches: int = 3
    percentile: float = 90
    threads: tuple[int, ...] = (1,)

    @property
    def rounds(self) -> int:
        """Return the rounds of a launch."""
        return max(LEAST_ROUNDS, math.ceil(samples_needed(self.percentile) / self.launches))


@dataclass(frozen=True)
class Asked:
    """What is to be measured: artifacts by format, targets, and [format, target] of what the others are compared with."""

    build: Path
    formats: tuple[str, ...]
    targets: tuple[Target, ...]
    baseline: tuple[str, str] | None = None


@dataclass(frozen=True)
class Entry:
    """One case to be measured: an artifact, a target, a number of threads."""

    artifact: Artifact
    target: Target
    threads: int

    @property
    def name(self) -> str:
        """Return what it is called in messages and logs."""
        return f"{self.artifact.format} on {self.target.name}" + (f", {self.threads} threads" if self.threads > 1 else "")

    def blank(self) -> Case:
        """Return its case before anything was measured."""
        artifact = self.artifact
        return Case(
            artifact.format,
            self.target.name,
            "not run",
            "",
            in_turns=self.target.open is not None,
            threads=self.threads,
            artifact_sha256=artifact.sha256,
            bytes=artifact.bytes,
        )


def measure(asked: Asked, effort: Effort, step: Step, entries: Sequence[Entry] | None = None) -> Latencies:
    """Return the latencies of every artifact asked for on every target that reads it; an interruption keeps what there is.

    ``entries`` names single cases in their place.

    Raises:
        EdgeError: nothing was exported there, an artifact is not what was exported, or the effort makes no measurement.
    """
    _refuse(effort)
    reference = read_reference(asked.build / REFERENCE)
    if reference is None:
        raise EdgeError(f"{asked.build} holds no reference; export the model first with `make export-all`.")
    entries = list(entries_of(asked, effort.threads) if entries is None else entries)
    work = asked.build / WORK
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    few = _few_images(asked.build / REFERENCE / PIXELS, work / "few.npy")
    run = _Run(asked.build, few, effort, step)
    found = run.measured(entries, asked.baseline, reference)
    for path in work.glob("*.npy"):
        path.unlink()
    return found


def entries_of(asked: Asked, threads: Sequence[int] = (1,)) -> Iterator[Entry]:
    """Yield what there is to measure, by format and target.

    Raises:
        EdgeError: an artifact is damaged, or is not there though it was named.
    """
    names = asked.formats or tuple(sorted(path.parent.name for path in asked.build.glob("*/manifest.json")))
    for name in names:
        artifact = read_artifact(asked.build / name)
        if changed := what_changed(artifact, asked.build / name):
            raise EdgeError(f"{asked.build / name}: {changed}; run `make export-all`.")
        for target in asked.targets:
            if target.takes(artifact) and target.name != "null":
                yield from (Entry(artifact, target, count) for count in threads)


def baseline_named(named: str | None) -> tuple[str, str] | None:
    """Return [format, target] from FORMAT@TARGET.

    Raises:
        EdgeError: it is not of that form.
    """
    if named is None:
        return None
    form, _, target = named.partition("@")
    if not form or not target:
        raise EdgeError(f"the baseline {named!r} is not of the form FORMAT@TARGET, as in keras@keras.")
    return form, target


def _refuse(effort: Effort) -> None:
    if effort.launches < 2:
        raise EdgeError(f"{effort.launches} launch makes no interval; take at least 2.")
    if not 0 < effort.percentile < 100:
        raise EdgeError(f"a percentile is between 0 and 100, not {effort.percentile:g}.")
    if min(effort.threads, default=0) < 1:
        raise EdgeError(f"{min(effort.threads, default=0)} threads compute nothing; name 1 or more.")


def _few_images(pixels: Path, few: Path) -> Path:
    import numpy as np

    np.save(few, np.load(pixels, mmap_mode="r")[:IMAGES])
    return few


@dataclass(frozen=True)
class _Run:
    """One run on one machine: where artifacts stand, the images they are asked, how long, and whom to tell."""

    build: Path
    pixels: Path
    effort: Effort
    step: Step

    def measured(self, entries: list[Entry], baseline: tuple[str, str] | None, reference: Reference) -> Latencies:
        from benchmarks.machine import machine, state

        before = state()
        absent = {entry.name: entry.target.missing() for entry in entries}
        here = [entry for entry in entries if absent[entry.name] is None]
        first = _baseline(baseline, here)
        times, interrupted = self._in_turns([entry for entry in here if entry.target.open], first)
        if not interrupted:
            blocks, interrupted = self._in_blocks([entry for entry in here if not entry.target.open])
            times |= blocks
        after = state()
        facts = {**machine(), "before": before.as_json(), "after": after.as_json()}
        cases = [self._case(entry, absent[entry.name], times.get(entry.name)) for entry in entries]
        cases = _graded(cases, (before, after), facts)
        compared, null = _compared(cases, {entry.name: entry for entry in here}, times, first)
        return Latencies(
            model=self.build.name,
            source_sha256=reference.source_sha256,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=facts,
            launches=self.effort.launches,
            rounds=self.effort.rounds,
            cases=cases,
            baseline=[first.artifact.format, first.target.name] if first else [],
            null=null,
            compared=compared,
            interrupted=interrupted,
        )

    def _job(self, entry: Entry, rounds: int) -> Job:
        work = self.build / WORK / f"{entry.artifact.format}-{entry.target.name}-{entry.threads}"
        work.mkdir(parents=True, exist_ok=True)
        return Job(self.build / entry.artifact.format, self.pixels, work, warmup=10, rounds=rounds, threads=entry.threads)

    def _in_turns(self, entries: list[Entry], first: Entry | None) -> tuple[dict[str, Times], bool]:
        rounds, launches = self.effort.rounds, self.effort.launches
        contestants = [Contestant(entry.name, self._job(entry, rounds), entry.target.name) for entry in entries]
        if first in entries:
            contestants.append(Contestant(NULL, self._job(first, rounds), first.target.name))
        if not contestants:
            return {}, False
        taken = time_in_turns(contestants, launches, rounds, self.step)
        return taken.times, taken.interrupted

    def _in_blocks(self, entries: list[Entry]) -> tuple[dict[str, Times], bool]:
        """Return the times of what times itself, launch by launch in random order."""
        times = {entry.name: Times() for entry in entries}
        order = random.Random(0)  # noqa: S311 - an order, not a secret
        try:
            for launch in range(self.effort.launches):
                for entry in order.sample(entries, len(entries)):
                    told = times[entry.name]
                    # A GPU made of software is asked once: what it takes says nothing of any GPU.
                    if told.problem or told.environment.get("software_gpu"):
                        continue
                    self.step(f"launch {launch + 1} of {self.effort.launches}: {entry.name}, in one block")
                    self._block(entry, told)
        except KeyboardInterrupt:
            return times, True
        return times, False

    def _block(self, entry: Entry, times: Times) -> None:
        job = self._job(entry, self.effort.rounds)
        try:
            with Child() as child:
                run = child.call(run_job, entry.target.name, job, log=job.work / "run.log", timeout_s=JOB_TIMEOUT_S)
        except Unsupported as error:
            times.problem, times.absent = str(error), True
            return
        except (EdgeError, ChildError) as error:
            times.problem = f"it did not run: {error}"
            return
        times.wall_ms.append(list(run.latencies_ms))
        times.load_ms.append(run.load_ms)
        times.first_ms.append(run.first_ms)
        times.environment, times.labels = dict(run.environment), run.labels
        times.scores.append(run.scores[:1])

    def _case(self, entry: Entry, absent: str | None, times: Times | None) -> Case:
        """Return a case from what was taken."""
        case = entry.blank()
        if absent or times is None:
            return replace(case, reason=absent or "the run was interrupted before it was its turn")
        software = bool(times.environment.get("software_gpu"))
        case = replace(
            case,
            load_ms=times.load_ms,
            first_ms=times.first_ms,
            wall_ms=[] if software else [launch for launch in times.wall_ms if launch],
            cpu_ms=[launch for launch in times.cpu_ms if launch],
            calls=times.calls,
            environment=times.environment,
        )
        if times.problem:
            return replace(case, state="not run" if times.absent else "failed", reason=times.problem)
        if software:
            return replace(case, reason="a GPU made of software, whose times say nothing of any GPU: for parity only")
        if not case.samples_ms:
            return replace(case, reason="the run was interrupted before it was its turn")
        problem = self._otherwise(entry.artifact, times)
        return replace(case, state="failed" if problem else "measured", reason=problem, agrees=not problem)

    def _otherwise(self, artifact: Artifact, times: Times) -> str:
        """Return in words how far the answers that were timed are from the original's, or nothing."""
        import numpy as np

        expected = read_answers(self.build / REFERENCE, artifact.labels).probabilities[:1]
        worst = 0.0
        for scores in times.scores:
            if scores.shape != expected.shape or not np.isfinite(scores).all():
                return f"it answered {scores.shape} scores, not all of them numbers; expected {expected.shape}"
            worst = max(worst, float(np.abs(_probabilities(scores, artifact) - expected).max()))
        if worst > artifact.tolerance.max_difference:
            most = artifact.tolerance.max_difference
            return f"while it was timed, a probability differed from the original's by {worst:.2g}; expected at most {most:.2g}"
        return ""


def _probabilities(scores: "NDArray[np.float32]", artifact: Artifact) -> "NDArray[np.float32]":
    return softmax(scores) if artifact.output == "logits" else scores


def _baseline(named: tuple[str, str] | None, here: list[Entry]) -> Entry | None:
    """Return what the others are compared with: what was named, else the original, else the first that is asked in turns.

    Raises:
        EdgeError: what was named is not measured here in turns.
    """
    in_turns = [entry for entry in here if entry.target.open]
    for wanted in (named or ORIGINAL,):
        for entry in in_turns:
            if (entry.artifact.format, entry.target.name) == wanted:
                return entry
    if named:
        there = ", ".join(f"{entry.artifact.format}@{entry.target.name}" for entry in in_turns)
        raise EdgeError(f"the baseline {'@'.join(named)} is not timed in turns here; there are {there or 'none'}.")
    return in_turns[0] if in_turns else None


def _compared(
    cases: list[Case], entries: dict[str, Entry], times: dict[str, Times], first: Entry | None
) -> tuple[list[Compared], Ratio | None]:
    """Return every case's ratio to the baseline, and the baseline's to itself, by the clock that may decide."""
    if first is None or first.name not in times or NULL not in times:
        return [], None
    ours, itself = times[first.name], times[NULL]
    nulls = {clock: _ratio(ours, itself, clock) for clock in ("cpu_ms", "wall_ms")}
    found = []
    for case in cases:
        entry = next((each for each in entries.values() if _is_of(case, each)), None)
        if entry is None or case.state != "measured" or not case.in_turns or entry == first:
            continue
        clock = "cpu_ms" if _by_cpu(case) and first.threads == 1 else "wall_ms"
        ratio, null = _ratio(ours, times[entry.name], clock), nulls[clock]
        if ratio is not None and null is not None:
            by: Clock = "CPU time" if clock == "cpu_ms" else "wall time"
            found.append(Compared(case.format, case.target, case.threads, ratio, by, verdict(ratio, null)))
    return found, nulls["cpu_ms"]


def _is_of(case: Case, entry: Entry) -> bool:
    return (case.format, case.target, case.threads) == (entry.artifact.format, entry.target.name, entry.threads)


def _by_cpu(case: Case) -> bool:
    """Say whether CPU time is the time that an answer takes: one thread, on a CPU."""
    where = (case.environment.get(name) for name in ("provider", "accelerator", "device"))
    return case.threads == 1 and all(each in {None, "CPU", "CPUExecutionProvider"} for each in where)


def _ratio(old: Times, new: Times, clock: str) -> Ratio | None:
    """Return the ratio of what two contestants have in common: launches that both finished, or the rounds of the first."""
    import numpy as np

    pairs = list(zip(getattr(old, clock), getattr(new, clock), strict=False))
    most = max((min(len(one), len(other)) for one, other in pairs), default=0)
    whole = [(one[:most], other[:most]) for one, other in pairs if min(len(one), len(other)) == most]
    if most < 2:
        return None
    try:
        return paired_ratio(np.array([one for one, _ in whole]), np.array([other for _, other in whole]))
    except ValueError:
        return None


def _graded(cases: list[Case], states: "tuple[State, State]", facts: dict[str, Any]) -> list[Case]:
    from benchmarks.trust import doubts, grade

    (before, after), graded = states, []
    for case in cases:
        if case.state == "measured":
            notices = doubts(case, before, after, facts)
            case = replace(case, warnings=notices, grade=grade(case, notices))  # noqa: PLW2901 - the same case, said more of
        graded.append(case)
    return graded
