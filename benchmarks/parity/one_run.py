# SPDX-License-Identifier: Apache-2.0
"""One artifact on one target: run in a child process, and judged."""

import shutil
import statistics
import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.bench import Bench, blank_row
from edgeferry.benchmarks.parity.judging.exercised import also_judged, exercised
from edgeferry.benchmarks.parity.judging.expected import Expected, images_to_run, read_expected
from edgeferry.benchmarks.parity.judging.integers import MOST_STEPS, compare, expected_integers
from edgeferry.benchmarks.parity.judging.verdict import judge
from edgeferry.benchmarks.parity.lanes import Lane
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.report.words import times
from edgeferry.models.artifact import Artifact
from edgeferry.models.reference import PIXELS, REFERENCE, Reference, calibration_findings
from edgeferry.models.system.child import ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import explain_disk_errors
from edgeferry.models.yardstick import problem_of, read_yardstick
from edgeferry.targets.target import Absent, Job, Run, Target, Unsupported, targets

JOB_TIMEOUT_S: Final = 900.0
# The time in a row is for information: `edgeferry bench` measures.
WARMUP: Final = 1
ROUNDS: Final = 10
# What is timed, not judged, runs so many golden images before it is timed on the first of them.
FEW: Final = 8


@dataclass(frozen=True)
class Ran:
    """The row of an artifact on a target, its raw latencies, and whether the same artifact there would give it again."""

    row: Row
    latencies_ms: tuple[float, ...] = ()
    is_lasting: bool = True


@dataclass(frozen=True)
class Attempt:
    """What came of an artifact on a target before it is judged: its run, or the verdict where there is none.

    ``checked`` is when it ran, with the offset from UTC, ``seconds`` how long that took, None where it did not; ``is_lasting``
    says whether the same artifact there would give it again.
    """

    run: Run | None
    verdict: Verdict | None = None
    checked: str = ""
    seconds: float | None = None
    is_lasting: bool = True


def run_one(bench: Bench, artifact: Artifact, target: Target, lane: Lane) -> Ran:
    """Return what became of an artifact on a target, run in a lane."""
    found = attempt(bench, artifact, target, lane)
    with lane.floor.still:
        return judged(bench, artifact, target.name, found)


def attempt(bench: Bench, artifact: Artifact, target: Target, lane: Lane, part: tuple[int, int] | None = None) -> Attempt:
    """Return what a target makes of an artifact, run in a lane: of all images, or of a part (the first, and one after the last).

    The part that begins with the first image is timed, and runs in batches too.
    """
    work = bench.runs / target.name / artifact.format / ("" if part is None else str(part[0]))
    with explain_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    job = Job(
        bench.build / artifact.format,
        images_to_run(bench.build, bench.runs),
        work,
        WARMUP,
        ROUNDS,
        reference=bench.build / REFERENCE,
        asks_for_quiet=lane.is_shared,
        code=bench.code,
        part=part,
    )
    if part is not None and part[0]:
        job = replace(job, warmup=0, rounds=0, reference=None, asks_for_quiet=False)
    log = work / "run.log"
    log.unlink(missing_ok=True)
    now, begun = datetime.now(UTC).isoformat(timespec="seconds"), time.monotonic()
    try:
        found = Attempt(lane.call(run_job, target.name, job, work=work, log=log, timeout_s=JOB_TIMEOUT_S))
    except Absent as error:
        # What is absent may be back by the next time.
        found = Attempt(None, Verdict("not run", str(error), error.code), is_lasting=False)
    except Unsupported as error:
        found = Attempt(None, Verdict("unsupported", str(error), error.code))
    except (EdgeError, ChildError) as error:
        found = Attempt(None, accident(error), is_lasting=False)
    tidy(work, log)
    return replace(found, checked=now, seconds=time.monotonic() - begun)


def accident(error: EdgeError | ChildError) -> Verdict:
    """Return the verdict on what broke: it may have passed by the next time, so it is kept as a line and never used again."""
    return Verdict("failed", f"it did not run: {error}", error.code if isinstance(error, EdgeError) else None)


def judged(bench: Bench, artifact: Artifact, target: str, found: Attempt) -> Ran:
    """Return the row of what came of an artifact on a target."""
    begun = time.monotonic()
    row = replace(blank_row(bench, artifact, (artifact.format, target), Verdict("failed", "")), checked=found.checked)
    if found.run is None:
        ran = Ran(replace(row, verdict=found.verdict or row.verdict), is_lasting=found.is_lasting)
    else:
        try:
            ran = Ran(_judged(bench, row, found.run, artifact), found.run.latencies_ms)
        except EdgeError as error:
            ran = Ran(replace(row, verdict=accident(error)), is_lasting=False)
    if found.seconds is None:
        return ran
    return replace(ran, row=replace(ran.row, seconds=round(found.seconds + time.monotonic() - begun, 3)))


def tidy(work: Path, log: Path) -> None:
    """Remove what a target left in its working folder, images above all; its log stays."""
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != log:
            path.unlink()


def few_images(build: Path, folder: Path) -> Path:
    """Write a model's first golden images to a file in a folder, which it returns."""
    import numpy as np

    few = folder / "few.npy"
    np.save(few, np.load(build / REFERENCE / PIXELS, mmap_mode="r")[:FEW])
    return few


def run_job(target: str, job: Job) -> Run:
    """Return what a target makes of a job; called in the child process."""
    return targets()[target].run(job)


def _judged(bench: Bench, blank: Row, run: Run, artifact: Artifact) -> Row:
    expected = expected_of(bench, artifact).of(run.image_indices)
    verdict = judge(run.scores, run.labels, artifact, expected)
    facts: dict[str, Any] = ({"first_ms": run.first_ms} if run.latencies_ms else {}) | exercised(run)
    if run.stored is not None and "parent_sha256" in artifact.options:
        found = compare(run.stored, expected_integers(bench.build, artifact, images_to_run(bench.build, bench.runs)))
        facts |= {"integer_steps": found.steps, "integer_other_classes": found.other_classes}
        verdict = _with_integers(verdict, found.problem)
    verdict = also_judged(verdict, run, artifact, bench.build / REFERENCE)
    if artifact.precision is not None and expected.simulated is None:
        why = problem_of(bench.build, artifact.precision) or "it was not simulated; `make export-all` does"
        facts["expected_difference"] = f"not known, {why}"
    verdict = with_likely_cause(verdict, artifact, bench.reference)
    # The times of a software-rendered GPU say nothing of any GPU.
    timed = bool(run.latencies_ms) and not run.environment.get("software_gpu")
    return replace(
        blank,
        verdict=verdict,
        latency_ms_median=statistics.median(run.latencies_ms) if timed else None,
        load_ms=run.load_ms if run.latencies_ms else None,
        environment=dict(run.environment) | facts,
    )


def expected_of(bench: Bench, artifact: Artifact) -> Expected:
    """Return what an artifact is compared with, and what its precision explains where that is known."""
    expected = read_expected(bench.build / REFERENCE, bench.reference.labels, bench.reference.decision)
    simulated = read_yardstick(bench.build, artifact.precision, bench.reference, bench.sha256) if artifact.precision else None
    fits = simulated is not None and len(simulated) == len(expected.probabilities)
    return replace(expected, simulated=simulated) if fits else expected


def with_likely_cause(verdict: Verdict, artifact: Artifact, reference: Reference) -> Verdict:
    """Return the verdict on a calibrated artifact that failed with what is likely to blame: its calibration, or its precision.

    Where rounding in the ranges that calibration found explains the whole difference, the converter and the runtime do not.
    """
    ratio = verdict.metrics.get("times_explained")
    if verdict.outcome != "failed" or artifact.calibration_digest is None or ratio is None:
        return verdict
    if ratio > artifact.tolerance.times_explained:
        return verdict
    found = " ".join(f"{each.sentence}." for each in calibration_findings(reference))
    cause = (
        f"the calibration images are the likely cause: {found}"
        if found
        else ("look at the calibration images, and at layers with wide ranges")
    )
    return replace(verdict, reason=f"{verdict.reason}; its 8-bit ranges explain the difference ({times(ratio)}): {cause}")


def _with_integers(verdict: Verdict, problem: str) -> Verdict:
    """Return a compiled artifact's verdict with the rule for integers applied too."""
    if problem:
        return replace(verdict, outcome="failed", reason=problem if verdict.passed else f"{verdict.reason}; {problem}")
    return replace(verdict, reason=f"{verdict.reason}; every integer within {MOST_STEPS} step of its parent's")
