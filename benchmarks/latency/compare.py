# SPDX-License-Identifier: Apache-2.0
"""Is a new artifact slower than an old one? Both, and the old one beside itself, timed in turns in one run."""

import shutil
import statistics
import tempfile
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.latency.interleave import Contestant, Times, on_cpu, opener, ratio, time_in_turns
from edgeferry.benchmarks.latency.percentiles import percentile_told
from edgeferry.benchmarks.latency.ratio import Clock, Ratio, Verdict, is_regression, verdict
from edgeferry.benchmarks.parity.expected import read_expected
from edgeferry.benchmarks.parity.verdict import far_off
from edgeferry.models.artifact import read_artifact, what_changed
from edgeferry.models.reference import PIXELS, REFERENCE
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Job, choose

# History: 1, the first; 2 names the clock that decides.
SCHEMA: Final = 2
CLOCKS: Final[tuple[Clock, Clock]] = ("CPU time", "wall time")
PERCENTILES: Final = (50, 90, 99)
# Below this share of the wall's time the processor was somebody else's as well.
LEAST_SHARE: Final = 0.9


@dataclass(frozen=True)
class Effort:
    """How long is measured, and which difference counts as a regression: 0.05 is 5 %."""

    launches: int = 10
    rounds: int = 30
    minimum_effect: float = 0.05


@dataclass(frozen=True)
class Comparison:
    """What a run found: ``by`` is the clock that decides, CPU time on a CPU; ``null`` is the old one beside itself."""

    old: str
    new: str
    target: str
    by: Clock
    cpu: Ratio
    wall: Ratio
    null: Ratio
    verdict: Verdict
    is_regression: bool
    minimum_effect: float
    times: dict[str, Times]

    def as_json(self) -> dict[str, Any]:
        """Return what is written as JSON: everything, raw times included."""
        rest = {name: value for name, value in asdict(self).items() if name != "times"}
        times = {name: _times_told(each) for name, each in self.times.items()}
        return {"schema": SCHEMA, **rest, "times": times}


def compare(old: Path, new: Path, target: str, effort: Effort, step: Step) -> Comparison:
    """Return how an artifact's folder compares with another's on a target of this machine.

    Raises:
        EdgeError: a folder holds no sound artifact or has no golden images beside it, the target cannot be asked in turns, or
            an artifact did not run.
    """
    _refuse(target, effort)
    # Where an artifact does not run, the error names its log here, so the folder goes only when all went well.
    work = Path(tempfile.gettempdir()) / f"edgeferry-{uuid.uuid4().hex}"
    jobs = [_job(folder, target, work) for folder in (old, new)]
    contestants = [Contestant(*each) for each in (("old", jobs[0], target), ("new", jobs[1], target), ("null", jobs[0], target))]
    taken = time_in_turns(contestants, effort.launches, effort.rounds, step)
    if taken.interrupted:
        shutil.rmtree(work, ignore_errors=True)
        raise KeyboardInterrupt
    times = taken.times
    for each in contestants:
        if problem := _problem(each, times[each.name]):
            raise EdgeError(f"{each.name}, {each.job.folder} on {target}: {problem}")
    shutil.rmtree(work)
    by: Clock = "CPU time" if on_cpu(times["old"].environment) else "wall time"
    try:
        cpu, wall = (ratio(times["old"], times["new"], clock) for clock in CLOCKS)
        null = ratio(times["old"], times["null"], by)
    except ValueError as error:
        raise EdgeError(f"nothing can be compared: {error}; measure again.") from None
    decides = cpu if by == "CPU time" else wall
    slower, found = is_regression(decides, null, effort.minimum_effect), verdict(decides, null)
    return Comparison(str(old), str(new), target, by, cpu, wall, null, found, slower, effort.minimum_effect, times)


def _problem(each: Contestant, times: Times) -> str:
    """Return in words why a contestant's times may not be compared, or nothing."""
    if times.problem:
        return times.problem
    if times.environment.get("software_gpu"):
        return "it ran on a GPU made of software, whose times say nothing of any GPU; name another target or driver"
    artifact = each.job.artifact
    expected = read_expected(each.job.pixels.parent, artifact.labels).probabilities[:1]
    return next(filter(None, (far_off(scores, artifact, expected) for scores in times.scores)), "")


def lines_of(found: Comparison) -> Iterator[str]:
    """Yield the comparison as lines of text."""
    for name, path in (("old", found.old), ("new", found.new)):
        yield f"{name}  {path} on {found.target}: {_latencies(found.times[name])}"
    yield f"CPU time, new to old:      {_ratio_told(found.cpu)}"
    yield f"wall time, new to old:     {_ratio_told(found.wall)}"
    yield f"the old one beside itself: {_ratio_told(found.null)}; less than {100 * (found.null.reach - 1):.1f} % is not claimed"
    yield from (f"warning: {each}" for each in warnings(found))
    effect = f"a minimum effect of {100 * found.minimum_effect:g} %"
    yield f"by {found.by}: {found.verdict}; {'a regression beyond' if found.is_regression else 'no regression beyond'} {effect}"


def warnings(found: Comparison) -> Iterator[str]:
    """Yield what a reader of the figures must know, each with what to do."""
    share = min(_share(times) for times in found.times.values())
    if found.by == "CPU time" and share < LEAST_SHARE:
        yield (
            f"the processes had the processor for {100 * share:.0f} % of the time; "
            "the verdict is of CPU time, the wall's figures want a quiet machine"
        )
    if found.null.low > 1 or found.null.high < 1:
        yield "the old artifact beside itself seems to differ: the machine changed within the run; take more launches"


def _share(times: Times) -> float:
    """Return the share of the time that a contestant had the processor."""
    return sum(map(sum, times.cpu_ms)) / sum(map(sum, times.wall_ms))


def _refuse(target: str, effort: Effort) -> None:
    (place,) = choose((target,))
    opener(target)
    if why := place.missing():
        raise EdgeError(f"{target} cannot run here: {why}.")
    if effort.launches < 2 or effort.rounds < 2:
        raise EdgeError(f"{effort.launches} launches of {effort.rounds} rounds make no interval; take at least 2 of each.")
    if effort.minimum_effect < 0:
        raise EdgeError(f"a minimum effect of {effort.minimum_effect:g} is negative; 0.05 is 5 %.")


def _job(folder: Path, target: str, work: Path) -> Job:
    artifact = read_artifact(folder)
    if changed := what_changed(artifact, folder):
        raise EdgeError(f"{folder}: {changed}; run `make export-all`.")
    if not choose((target,))[0].takes(artifact):
        raise EdgeError(f"{target} does not read {artifact.format}, which {folder} holds; name another with --target.")
    pixels = folder.resolve().parent / REFERENCE / PIXELS
    if not pixels.is_file():
        raise EdgeError(f"{folder} has no golden images beside it, expected at {pixels}; compare folders below build/<model>/.")
    return Job(folder.resolve(), pixels, work)


def _latencies(times: Times) -> str:
    flat = [time for launch in times.wall_ms for time in launch]
    if times.calls > 1:
        return f"median {statistics.median(flat):.3g} ms, each of up to {times.calls} calls"
    return ", ".join(f"p{each} {percentile_told(flat, each)}" for each in PERCENTILES)


def _ratio_told(found: Ratio) -> str:
    return f"{found.ratio:.3f} [{found.low:.3f}, {found.high:.3f}]"


def _times_told(times: Times) -> dict[str, Any]:
    told = {"wall_ms": times.wall_ms, "cpu_ms": times.cpu_ms, "load_ms": times.load_ms, "first_ms": times.first_ms}
    return {**told, "calls": times.calls, "environment": times.environment}
