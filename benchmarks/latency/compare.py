# SPDX-License-Identifier: Apache-2.0
"""Is a new artifact slower than an old one? Both, and the old one a second time, timed interleaved in one run."""

import shutil
import statistics
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.latency.interleave import Candidate, Times, ratio_of_times, time_interleaved
from edgeferry.benchmarks.latency.loaded import on_cpu, opener
from edgeferry.benchmarks.latency.ratio import (
    CLOCKS,
    Clock,
    Ratio,
    SpeedVerdict,
    interval_text,
    is_regression,
    noise_text,
    speed_text,
    speed_verdict,
)
from edgeferry.benchmarks.latency.samples import percentile_text
from edgeferry.benchmarks.latency.warnings import LEAST_SCHEDULED, scheduled_share
from edgeferry.benchmarks.parity.judging.expected import read_expected
from edgeferry.benchmarks.parity.judging.verdict import far_off
from edgeferry.models.artifact import read_artifact, what_changed
from edgeferry.models.reference import PIXELS, REFERENCE
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Job, choose

# History: 1, the first; 2 names the clock that decides; 3, a verdict may be "inconclusive" instead of "cannot tell".
SCHEMA: Final = 3
PERCENTILES: Final = (50, 90, 99)


@dataclass(frozen=True)
class ComparisonPlan:
    """How long to measure, and which difference counts as a regression: 0.05 is 5 %."""

    launches: int = 10
    rounds: int = 30
    minimum_effect: float = 0.05


@dataclass(frozen=True)
class ArtifactComparison:
    """What a run found: ``by`` is the clock that decides, CPU time on a CPU; ``null`` is the old one compared with itself."""

    old: str
    new: str
    target: str
    by: Clock
    cpu: Ratio
    wall: Ratio
    null: Ratio
    verdict: SpeedVerdict
    is_regression: bool
    minimum_effect: float
    times: dict[str, Times]

    def as_json(self) -> dict[str, Any]:
        """Return what is written as JSON: everything, raw times included."""
        rest = {name: value for name, value in asdict(self).items() if name != "times"}
        times = {name: _times_fields(each) for name, each in self.times.items()}
        return {"schema": SCHEMA, **rest, "times": times}


def compare(old: Path, new: Path, target: str, plan: ComparisonPlan, step: Step) -> ArtifactComparison:
    """Return how an artifact's folder compares with another's on a target of this machine.

    Raises:
        EdgeError: a folder holds no sound artifact or has no golden images next to it, the target measures itself, or an
            artifact did not run.
    """
    _refuse(target, plan)
    # Where an artifact does not run, the error names its log here, so the folder is removed only when all went well.
    work = Path(tempfile.gettempdir()) / f"edgeferry-{uuid.uuid4().hex}"
    jobs = [_job(folder, target, work) for folder in (old, new)]
    candidates = [Candidate(*each) for each in (("old", jobs[0], target), ("new", jobs[1], target), ("null", jobs[0], target))]
    measured = time_interleaved(candidates, plan.launches, plan.rounds, step)
    if measured.interrupted:
        shutil.rmtree(work, ignore_errors=True)
        raise KeyboardInterrupt
    times = measured.times
    for each in candidates:
        if problem := _problem(each, times[each.name]):
            raise EdgeError("EF-artifact-not-timed", f"{each.name}, {each.job.folder} on {target}: {problem}")
    shutil.rmtree(work)
    by: Clock = "CPU time" if on_cpu(times["old"].environment) else "wall time"
    try:
        cpu, wall = (ratio_of_times(times["old"], times["new"], clock) for clock in CLOCKS)
        null = ratio_of_times(times["old"], times["null"], by)
    except ValueError as error:
        raise EdgeError("EF-times-unusable", f"nothing can be compared: {error}; measure again.") from None
    decisive = cpu if by == "CPU time" else wall
    slower, found = is_regression(decisive, null, plan.minimum_effect), speed_verdict(decisive, null)
    return ArtifactComparison(str(old), str(new), target, by, cpu, wall, null, found, slower, plan.minimum_effect, times)


def _problem(candidate: Candidate, times: Times) -> str:
    """Return why a candidate's times cannot be compared, or ''."""
    if times.problem:
        return times.problem
    if times.environment.get("software_gpu"):
        return "it ran on a software-rendered GPU, whose times say nothing about any GPU; use another target or driver"
    artifact = candidate.job.artifact
    expected = read_expected(candidate.job.pixels.parent, artifact.labels).probabilities[:1]
    return next(filter(None, (far_off(scores, artifact, expected) for scores in times.scores)), "")


def lines_of(found: ArtifactComparison) -> Iterator[str]:
    """Yield the comparison as lines of text."""
    for name, path in (("old", found.old), ("new", found.new)):
        yield f"{name}  {path} on {found.target}: {_latencies(found.times[name])}"
    for clock, ratio in zip(CLOCKS, (found.cpu, found.wall), strict=True):
        yield f"{clock}, new vs old: {speed_text(ratio)} {interval_text(ratio)}"
    yield f"noise floor (old vs itself): {noise_text(found.null)}"
    yield from (f"warning: {each}" for each in comparison_warnings(found))
    regression = "a regression" if found.is_regression else "no regression"
    yield f"by {found.by}: {found.verdict}; {regression} beyond a minimum effect of {100 * found.minimum_effect:g} %"


def comparison_warnings(found: ArtifactComparison) -> Iterator[str]:
    """Yield what a reader of the numbers must know, each with what to do."""
    shares = [scheduled_share(times.wall_ms, times.cpu_ms) for times in found.times.values()]
    share = min((each for each in shares if each is not None), default=1.0)
    if found.by == "CPU time" and share < LEAST_SCHEDULED:
        yield (
            f"the processes were scheduled {100 * share:.0f} % of the time; the verdict is by CPU time, "
            "wall times need an idle machine"
        )
    if found.null.low > 1 or found.null.high < 1:
        yield "the old artifact seems to differ from itself: the machine changed during the run; use more launches (--launches)"


def refuse_minimum_effect(minimum_effect: float) -> None:
    """Refuse a negative minimum effect.

    Raises:
        EdgeError: it is negative.
    """
    if minimum_effect < 0:
        raise EdgeError("EF-minimum-effect", f"--minimum-effect is {minimum_effect:g}; it must be at least 0 (0.05 is 5 %).")


def _refuse(target: str, plan: ComparisonPlan) -> None:
    (chosen,) = choose((target,))
    opener(target)
    if why := chosen.missing():
        raise EdgeError("EF-target-missing", f"{target} cannot run here: {why}.")
    for code, option, count in (("EF-launch-count", "--launches", plan.launches), ("EF-round-count", "--rounds", plan.rounds)):
        if count < 2:
            raise EdgeError(code, f"{option} is {count}; it must be at least 2: fewer give no interval.")
    refuse_minimum_effect(plan.minimum_effect)


def _job(folder: Path, target: str, work: Path) -> Job:
    artifact = read_artifact(folder)
    if changed := what_changed(artifact, folder):
        raise EdgeError("EF-artifact-unsound", f"{folder}: {changed}; run `make export-all`.")
    if not choose((target,))[0].takes(artifact):
        raise EdgeError(
            "EF-target-format",
            f"{target} does not read {artifact.format}, which is in {folder}; use another target with --target.",
        )
    pixels = folder.resolve().parent / REFERENCE / PIXELS
    if not pixels.is_file():
        raise EdgeError(
            "EF-golden-missing",
            f"{folder} has no golden images next to it, expected at {pixels}; compare folders in build/<model>/.",
        )
    return Job(folder.resolve(), pixels, work)


def _latencies(times: Times) -> str:
    flat = [time for launch in times.wall_ms for time in launch]
    if times.calls > 1:
        return f"median {statistics.median(flat):.3g} ms, each the mean of up to {times.calls} calls"
    return ", ".join(f"p{each} {percentile_text(flat, each)}" for each in PERCENTILES)


def _times_fields(times: Times) -> dict[str, Any]:
    fields = {"wall_ms": times.wall_ms, "cpu_ms": times.cpu_ms, "load_ms": times.load_ms, "first_ms": times.first_ms}
    return {**fields, "calls": times.calls, "environment": times.environment}
