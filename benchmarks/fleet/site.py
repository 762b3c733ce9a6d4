# SPDX-License-Identifier: Apache-2.0
"""A plan where its builds are: the benches of its models, opened once, and artifacts that are still those that were planned."""

from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeferry.benchmarks.fleet.plan import FleetJob, Plan, PlannedModel
from edgeferry.benchmarks.fleet.store import Store
from edgeferry.benchmarks.parity.bench import Bench, exported, key_of, open_bench
from edgeferry.benchmarks.parity.required import targets_in
from edgeferry.models.artifact import Artifact
from edgeferry.models.bundle.archive import is_archive
from edgeferry.models.bundle.content import unpacked
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import choose


@dataclass(frozen=True)
class Site:
    """A plan in a folder, the store of its results, the folder that bundles are unpacked below, and how steps are shown.

    ``reuse`` takes digests of files that did not change from the index that planning wrote; merging reads the bytes.
    """

    plan: Plan
    folder: Path
    build: Path
    store: Store
    step: Step
    reuse: bool = False
    benches: dict[str, Bench] = field(default_factory=dict)
    artifacts: dict[tuple[str, str], Artifact] = field(default_factory=dict)

    def place(self, model: PlannedModel) -> Path:
        """Return a model's build folder; a bundle is unpacked if it is not yet.

        Raises:
            EdgeError: there is none where the plan says.
        """
        named = (self.folder / model.path).resolve()
        if is_archive(named):
            return unpacked(named, self.build)
        if not named.is_dir():
            raise EdgeError(
                "EF-fleet-build",
                f"{named}: {model.name} is not there; expected its build folder or bundle in the same place, seen from the "
                "plan's folder, as when it was planned.",
            )
        return named

    def bench(self, model: PlannedModel) -> Bench:
        """Return the bench of a model, with every target of the plan.

        Raises:
            EdgeError: nothing was exported there.
        """
        if model.path not in self.benches:
            bench = open_bench(
                self.place(model), choose(tuple(self.plan.targets)), self.step, reuse=self.reuse, tolerances=model.tolerances
            )
            named = frozenset((*self.plan.named, *targets_in(model.required)))
            self.benches[model.path] = replace(bench, formats=self.plan.formats, named_targets=named)
        return self.benches[model.path]

    def artifact(self, model: PlannedModel, job: FleetJob) -> Artifact:
        """Return a job's artifact, whole, and the one that was planned.

        Raises:
            EdgeError: it is damaged, or it or what it is compared with changed since.
        """
        bench, name = self.bench(model), (model.path, job.format)
        if name not in self.artifacts:
            export = next((each for each in bench.exports.formats if each.format == job.format), None)
            found = None if export is None else exported(bench, export)
            if not isinstance(found, Artifact):
                reason = "it was not exported" if found is None else found.reason
                raise EdgeError("EF-fleet-changed", f"{bench.build / job.format}: {reason}; it was planned. Plan again.")
            self.artifacts[name] = found
        artifact = self.artifacts[name]
        (target,) = choose((job.target,))
        if key_of(bench, target, artifact, self.plan.targets[job.target].follows_from) != job.key:
            raise EdgeError(
                "EF-fleet-changed",
                f"{bench.build / job.format}: is not what was planned: the artifact, its tolerance, the reference or the "
                "yardstick changed since. Plan again, or bring the builds that were planned.",
            )
        return artifact
