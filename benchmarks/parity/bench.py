# SPDX-License-Identifier: Apache-2.0
"""The bench: one model's artifacts, what they are compared with, and what each result follows from."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.parity.judging.metadata import refuse_other_metadata
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.results import RUNS
from edgeferry.benchmarks.parity.rows import NO_TARGET, Row
from edgeferry.benchmarks.parity.sound import sound, with_tolerance
from edgeferry.models.artifact import Artifact
from edgeferry.models.exports import Export, Exports, read_exports
from edgeferry.models.reference import REFERENCE, Reference, read_reference
from edgeferry.models.system.child import Child
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.digests import INDEX, Digests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, digest, sha256_of
from edgeferry.models.system.terminal import Step
from edgeferry.models.yardstick import yardstick_sha256
from edgeferry.targets.target import Target

# The code that runs and judges: a result follows from it.
JUDGE: Final = "edgeferry.benchmarks.parity.one_run"


@dataclass(frozen=True)
class Bench:
    """One model's artifacts and what they are compared with.

    ``reuse`` uses earlier results of the same files and code; ``formats`` names those to check, empty for all that were exported.
    ``named_targets`` holds the names of those that the user asked for, or requires results of.
    ``child`` is the process that runs them, where it is to be used again; without it every target has one of its own.
    ``code`` is a custom module that the Keras model may run. ``work`` is where runs leave logs and images, where that is not the
    build folder: others may be running its artifacts too.
    """

    build: Path
    reference: Reference
    targets: tuple[Target, ...]
    step: Step
    reuse: bool
    digests: Digests
    exports: Exports
    formats: tuple[str, ...] = ()
    named_targets: frozenset[str] = frozenset()
    child: Child | None = None
    code: str | None = None
    work: Path | None = None

    @property
    def runs(self) -> Path:
        """Return the folder of what runs leave."""
        return self.work or self.build / RUNS

    @property
    def sha256(self) -> Sha256:
        """Return what digests artifacts: where nothing is reused, their bytes are read."""
        return self.digests.sha256 if self.reuse else sha256_of


def open_bench(
    build: Path, selected: tuple[Target, ...], step: Step, *, reuse: bool, tolerances: dict[str, dict[str, float]] | None = None
) -> Bench:
    """Return the bench for a model's folder; ``tolerances`` are those of a config, in place of those recorded at the export.

    Raises:
        EdgeError: nothing was exported there.
    """
    digests = Digests(build / INDEX)
    reference = read_reference(build / REFERENCE, digests.sha256 if reuse else sha256_of)
    if reference is None:
        raise EdgeError("EF-reference-missing", f"{build} holds no reference; export the model first with `make export-all`.")
    exports = read_exports(build)
    if tolerances is not None:
        exports = replace(exports, tolerances=tolerances)
    return Bench(build, reference, selected, step, reuse, digests, exports)


def exported(bench: Bench, export: Export) -> Artifact | Row:
    """Return an artifact that can be run, with the tolerance to judge it by, or the row that says why there is none."""
    name = export.format
    if export.state == "not run":
        return Row(name, NO_TARGET, Verdict("not run", export.reason))
    if export.state == "failed":
        return Row(name, NO_TARGET, Verdict("failed", f"not exported: {export.reason}"))
    artifact, problem = fit_to_run(bench, name)
    if artifact is not None and problem is None:
        return artifact
    return blank_row(bench, artifact, (name, NO_TARGET), Verdict("failed", str(problem), problem.code if problem else None))


def fit_to_run(bench: Bench, name: str) -> tuple[Artifact | None, EdgeError | None]:
    """Return an artifact with the tolerance to judge it by, None where its manifest cannot be read, and what is wrong with it."""
    artifact, problem = sound(bench.build, bench.reference, name, bench.sha256)
    if artifact is None or problem is not None:
        return artifact, problem
    try:
        bench.exports.refuse_other_manifest(bench.build / name, bench.sha256)
        refuse_other_metadata(bench.build / name, artifact, bench.reference)
        return with_tolerance(artifact, bench.exports.tolerances, bench.reference), None
    except EdgeError as error:
        return artifact, error


def key_of(bench: Bench, target: Target, artifact: Artifact, follows_from: str) -> str:
    """Return the digest of everything that the result of an artifact on a target follows from."""
    return digest(
        [
            artifact.sha256,
            asdict(artifact.tolerance),
            artifact.labels,
            artifact.output,
            asdict(artifact.preprocessing),
            bench.reference.sha256,
            yardstick_sha256(bench.build, artifact.precision),
            target.name,
            follows_from,
        ]
    )


def target_digest(target: Target, code: CodeDigests) -> str:
    """Return the digest of a target's runtime and of the code that runs and judges."""
    return digest([dict(target.versions()), code.of(target.module, JUDGE)])


def blank_row(bench: Bench, artifact: Artifact | None, place: tuple[str, str], verdict: Verdict) -> Row:
    """Return the row of a format on a target before anything was measured."""
    row = Row(*place, verdict, reference_accuracy=bench.reference.accuracy)
    if artifact is None:
        return row
    return replace(row, bytes=artifact.bytes, artifact_sha256=artifact.sha256, tolerance=artifact.tolerance)
