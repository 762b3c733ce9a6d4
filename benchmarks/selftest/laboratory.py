# SPDX-License-Identifier: Apache-2.0
"""Artifacts with a fault in a scratch build folder: planted, judged exactly as the check judges, run on more images."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.bench import Bench
from edgeferry.benchmarks.parity.judging.expected import NO_CLASS, images_to_run, read_expected
from edgeferry.benchmarks.parity.one_run import JOB_TIMEOUT_S, run_job
from edgeferry.benchmarks.parity.run import run_all
from edgeferry.benchmarks.selftest.families.stale import UNSIGNED
from edgeferry.benchmarks.selftest.fault import HONEST, Fault
from edgeferry.benchmarks.selftest.planting import link_build, plant
from edgeferry.benchmarks.selftest.trial import Answers, Trial, answers_of, harm_of
from edgeferry.models.artifact import MANIFEST, Artifact, read_artifact
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.exports import Export, Exports
from edgeferry.models.reference import CALIBRATION, REFERENCE
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of
from edgeferry.targets.target import Job, Run, Target, choose

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]

# The folder below build/<model>/ while a self-test runs.
SCRATCH: Final = "selftest"
EXPORT_TIMEOUT_S: Final = 300.0


@dataclass(frozen=True)
class Subject:
    """An artifact that faults are planted in, the target it runs on, and the honest answers."""

    artifact: Artifact
    target: Target
    honest: Answers


@dataclass(frozen=True)
class Laboratory:
    """A model's build folder, the scratch one, images with their classes (-1 where unknown), and the processes that work."""

    spec: ModelSpec
    bench: Bench
    scratch: Path
    images: Path
    labels: "NDArray[np.int64]"
    exporter: Child
    runner: Child

    @property
    def log(self) -> Path:
        """Return the file that the processes print to."""
        return self.scratch / "selftest.log"


@contextmanager
def open_laboratory(spec: ModelSpec, bench: Bench, more: "Labelled | None") -> Iterator[Laboratory]:
    """Yield a laboratory in a scratch folder below the build folder, which is removed at the end."""
    scratch = bench.build / SCRATCH
    link_build(bench.build, scratch)
    try:
        images, labels = _images(bench, scratch, more)
        with ExitStack() as stack:
            exporter, runner = stack.enter_context(Child(with_keras=True)), stack.enter_context(Child())
            yield Laboratory(spec, replace(bench, build=scratch, child=runner), scratch, images, labels, exporter, runner)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _images(bench: Bench, scratch: Path, more: "Labelled | None") -> "tuple[Path, NDArray[np.int64]]":
    """Return a file with golden images, probes, calibration images and more, and the class of each."""
    import numpy as np

    build = bench.build
    checked = np.load(images_to_run(build), mmap_mode="r")
    golden = read_expected(build / REFERENCE, bench.reference.labels).classes
    unknown = golden[:1] * 0 + NO_CLASS
    parts, labels = [checked], [golden, unknown.repeat(len(checked) - len(golden), axis=0)]
    with suppress(FileNotFoundError):
        parts.append(np.load(build / REFERENCE / CALIBRATION, mmap_mode="r"))
        labels.append(unknown.repeat(len(parts[-1]), axis=0))
    if more is not None:
        parts.append(more[0])
        labels.append(more[1])
    path = scratch / "images.npy"
    np.save(path, np.concatenate(parts))
    return path, np.concatenate(labels).astype(np.int64)


def subjects(laboratory: Laboratory, build: Path, formats: tuple[str, ...]) -> Iterator[Subject]:
    """Yield every artifact in a build folder that a target here runs, with its honest answers."""
    for manifest in sorted(build.glob(f"*/{MANIFEST}")):
        name = manifest.parent.name
        if formats and name not in formats:
            continue
        with suppress(EdgeError):
            artifact = read_artifact(manifest.parent)
            target = _target_for(artifact)
            if target is not None and (scores := scores_of(laboratory, target, manifest.parent)) is not None:
                yield Subject(artifact, target, answers_of(scores, laboratory.labels, laboratory.bench.reference.decision))


def _target_for(artifact: Artifact) -> Target | None:
    """Return a target that runs an artifact and is available by default: a library, or else a program rather than a browser."""
    able = [each for each in choose(None) if each.judged and each.takes(artifact) and each.missing() is None]
    libraries = [each for each in able if each.open is not None]
    return libraries[0] if libraries else able[-1] if able else None


def scores_of(laboratory: Laboratory, target: Target, folder: Path) -> "NDArray[np.float32] | None":
    """Return an artifact's scores for all images, [count, classes], or None where it does not run on all of them."""
    work = laboratory.scratch / "work"
    work.mkdir(exist_ok=True)
    job = Job(folder, laboratory.images, work, warmup=0, rounds=1)
    try:
        run: Run = laboratory.runner.call(run_job, target.name, job, log=laboratory.log, timeout_s=JOB_TIMEOUT_S)
    except (EdgeError, ChildError):
        return None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return run.scores if len(run.scores) == len(laboratory.labels) else None


def try_fault(laboratory: Laboratory, build: Path, subject: Subject, fault: Fault) -> "tuple[Trial, NDArray[np.float32] | None]":
    """Return what a fault in an artifact does and what the check makes of it, and the scores for all images where it runs.

    Raises:
        EdgeError: the fault cannot be planted in this artifact.
        ChildError: the exporter cannot write it.
    """
    name = subject.artifact.format
    places = (build, laboratory.scratch)
    arguments = (laboratory.spec, places, name, fault.name)
    laboratory.exporter.call(plant, *arguments, log=laboratory.log, timeout_s=EXPORT_TIMEOUT_S)
    exports = _recorded(laboratory, name, fault)
    rows = run_all(replace(laboratory.bench, targets=(subject.target,), formats=(name,), exports=exports))
    failed = next((row for row in rows if row.outcome == "failed"), rows[0])
    blank = Trial(name, subject.target.name, fault.family, fault.name, "elsewhere", failed.outcome, failed.reason)
    if fault.shows == "elsewhere":
        return blank, None
    scores = scores_of(laboratory, subject.target, laboratory.scratch / name)
    found = None if scores is None else answers_of(scores, laboratory.labels, laboratory.bench.reference.decision)
    harm, changed, lost = harm_of(found, subject.honest)
    return replace(blank, harm="honest" if fault.family == HONEST else harm, changed=changed, lost=lost), scores


def _recorded(laboratory: Laboratory, name: str, fault: Fault) -> Exports:
    """Return the record of an export that wrote the planted file; what changed after the export has the honest record."""
    honest = laboratory.bench.exports
    manifests = honest.manifests if fault.family == UNSIGNED else {name: sha256_of(laboratory.scratch / name / MANIFEST)}
    return replace(honest, formats=(Export(name, "written", ""),), manifests=manifests)
