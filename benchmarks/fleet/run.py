# SPDX-License-Identifier: Apache-2.0
"""One shard of a plan: what of it no result is kept of is run, and every result is kept the moment it is there."""

import tempfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path

from edgeferry.benchmarks.fleet.kept import Kept, as_bytes, kept_of
from edgeferry.benchmarks.fleet.plan import FleetJob, Plan, PlannedModel, PlannedTarget
from edgeferry.benchmarks.fleet.site import Site
from edgeferry.benchmarks.parity.bench import Bench, target_digest
from edgeferry.benchmarks.parity.check import this_machine
from edgeferry.benchmarks.parity.gpus import SoftwareGpus, is_full_precision
from edgeferry.benchmarks.parity.judging.expected import images_to_run
from edgeferry.benchmarks.parity.lanes import Lane, SideBySide, lane_count
from edgeferry.benchmarks.parity.one_run import Attempt, attempt
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest
from edgeferry.targets.target import choose

Todo = tuple[PlannedModel, FleetJob]


@dataclass(frozen=True)
class Done:
    """What a shard came to: jobs in all, those whose results were kept already, and why others did not run, by job."""

    jobs: int
    kept: int
    accidents: tuple[str, ...]


def run_shard(site: Site, shard: int, targets: Collection[str] = (), code: str | None = None) -> Done:
    """Do one shard's part of a plan, of some targets or of all; ``code`` is a custom module that Keras models may run.

    Raises:
        EdgeError: a target is not here in the version that was planned, a build is not the one that was planned, or the store
            cannot be written.
    """
    own = todo_of(site.plan, (shard,), targets)
    follows_from = versions_here(site.plan, dict.fromkeys(job.target for _, job in own))
    todo = [(model, job) for model, job in own if not is_kept(site, job, follows_from[job.target])]
    with tempfile.TemporaryDirectory(prefix="edgeferry-run-", ignore_cleanup_errors=True) as work:
        accidents = _run(Worker(site, Path(work), follows_from, code), own, todo)
    return Done(len(own), len(own) - len(todo), accidents)


def todo_of(plan: Plan, shards: Collection[int], targets: Collection[str]) -> list[Todo]:
    """Return the jobs of some shards, on some targets or on all, with their models."""
    return [(model, job) for model, job in plan.jobs() if job.shard in shards and (not targets or job.target in targets)]


def versions_here(plan: Plan, names: Collection[str]) -> dict[str, str]:
    """Return what results of targets follow from here, which has to be what was planned.

    Raises:
        EdgeError: names the target, and both versions.
    """
    code, found = CodeDigests(), {}
    for target in choose(tuple(names)) if names else ():
        planned = plan.targets[target.name]
        if why := target.missing():
            raise EdgeError(
                "EF-fleet-target",
                f"{target.name} cannot run here: {why}. Name those that can with --target, and run this one on a machine that "
                "has it.",
            )
        found[target.name] = target_digest(target, code)
        if planned.follows_from and planned.follows_from != found[target.name]:
            raise EdgeError(
                "EF-fleet-versions",
                f"{target.name}: {_apart(planned, dict(target.versions()))}. Results of both cannot be merged: install what was "
                "planned, or plan again with what is here.",
            )
    return found


def _apart(planned: PlannedTarget, here: dict[str, str]) -> str:
    """Return in words how a target here differs from the one that was planned."""
    names = [name for name in planned.versions | here if planned.versions.get(name) != here.get(name)]
    apart = [
        f"{name} is {here.get(name, 'absent')} here, {planned.versions.get(name, 'absent')} where it was planned"
        for name in names
    ]
    return "; ".join(apart) or "edgeferry's own code is another here than where it was planned"


def is_kept(site: Site, job: FleetJob, follows_from: str) -> bool:
    """Return whether a job's result is there, whole, of these versions ('' for any), and not an accident that may have passed."""
    data = site.store.read(job.id)
    kept = None if data is None else kept_of(data)
    return kept is not None and kept.attempt.is_lasting and follows_from in {"", kept.follows_from}


@dataclass(frozen=True)
class Worker:
    """What runs jobs: where it works, what its results follow from by target, and the code that models may run."""

    site: Site
    work: Path
    follows_from: dict[str, str]
    code: str | None
    machine: dict[str, str] = field(default_factory=this_machine)
    gpus: dict[str, SoftwareGpus] = field(default_factory=dict)

    def bench(self, model: PlannedModel) -> Bench:
        """Return a model's bench that writes nothing to the build folder: others may be running there too."""
        return replace(self.site.bench(model), work=self.work / digest(model.path), code=self.code)

    def spared(self, model: PlannedModel) -> SoftwareGpus:
        """Return what ran of a model on software-rendered GPUs."""
        return self.gpus.setdefault(model.path, SoftwareGpus(self.site.bench(model).build))

    def result(self, model: PlannedModel, job: FleetJob, lane: Lane) -> Attempt:
        """Return what comes of a job, run in a lane."""
        bench, artifact, (target,) = self.bench(model), self.site.artifact(model, job), choose((job.target,))
        if target.name not in bench.named_targets and (why := self.spared(model).why_not(target, artifact)):
            return Attempt(None, why)
        found = attempt(bench, artifact, target, lane, job.part)
        if found.run is not None:
            self.spared(model).record(target, artifact, found.run.environment, found.seconds or 0.0)
        return found

    def remember(self, model: PlannedModel, job: FleetJob) -> None:
        """Take note of a job of a GPU that an earlier run of this shard did."""
        kept = kept_of(self.site.store.read(job.id) or b"")
        if kept is not None and kept.attempt.run is not None:
            (target,) = choose((job.target,))
            self.spared(model).record(target, self.site.artifact(model, job), kept.attempt.run.environment)

    def packed(self, job: FleetJob, found: Attempt) -> bytes:
        """Return a result as it is kept."""
        return as_bytes(Kept(found, self.machine, self.follows_from[job.target]))


def _run(worker: Worker, own: Sequence[Todo], todo: Sequence[Todo]) -> tuple[str, ...]:
    """Run jobs, those of CPUs side by side, and keep their results; return why some did not run."""
    site, numbers, accidents = worker.site, count(1), list[str]()
    for model, job in todo:
        # Before any runs: nothing is run of a build that is not the one planned.
        site.artifact(model, job)
        images_to_run(worker.bench(model).build, worker.bench(model).runs)
    alone = {target.name for target in choose(tuple(site.plan.targets)) if not target.side_by_side}
    for model, job in own:
        if job.target in alone and (model, job) not in todo:
            worker.remember(model, job)

    def run(each: Todo, lane: Lane) -> tuple[FleetJob, Attempt]:
        model, job = each
        site.step(f"running {model.name}: {job.format} on {job.target}{_images(job)}", next(numbers), len(todo))
        return job, worker.result(model, job, lane)

    beside = [each for each in todo if each[1].target not in alone]
    one_by_one = sorted(
        (each for each in todo if each[1].target in alone), key=lambda each: not is_full_precision(site.artifact(*each))
    )
    for lanes, some in ((lane_count() if beside else 1, beside), (1, one_by_one)):
        for job, found in SideBySide(lanes, lambda each: each[1].target, run).results(some):
            site.store.write(job.id, worker.packed(job, found))
            if not found.is_lasting and found.verdict is not None:
                accidents.append(f"{job.format} on {job.target}: {found.verdict.reason}")
    return tuple(accidents)


def _images(job: FleetJob) -> str:
    return "" if job.part is None else f", images {job.first} to {job.last - 1}"
