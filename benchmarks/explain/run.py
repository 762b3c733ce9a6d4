# SPDX-License-Identifier: Apache-2.0
"""Artifacts explained: run on the golden images, compared with the Keras model's scores, and examined in a child process."""

import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.explain.examine import Examined, Request, examine
from edgeferry.benchmarks.explain.outputs import mean_difference, output_fits
from edgeferry.benchmarks.explain.result import Explained, Explanation
from edgeferry.benchmarks.explain.stage import Evidence, suspects_of
from edgeferry.benchmarks.parity.bench import Bench, open_bench
from edgeferry.benchmarks.parity.one_run import JOB_TIMEOUT_S, expected_of, run_job
from edgeferry.models.artifact import Artifact, read_artifact
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import Decision, probabilities_of
from edgeferry.models.golden.order import read_order
from edgeferry.models.reference import PIXELS, REFERENCE
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Job, Run, Target, Unsupported, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

# Layers and inputs are examined on so many golden images.
IMAGES: Final = 32
EXAMINE_TIMEOUT_S: Final = 1800.0


@dataclass(frozen=True)
class Subject:
    """An artifact in a folder, on a target, and what the check said of it, '' where it was not checked."""

    folder: Path
    target: Target
    outcome: str = ""


@dataclass(frozen=True)
class Workshop:
    """A model's build folder, its config or why there is none, and the processes that run targets and the Keras model."""

    bench: Bench
    spec: ModelSpec | None
    no_model: str
    runner: Child
    examiner: Child
    work: Path

    @property
    def log(self) -> Path:
        """Return the file that the processes print to."""
        return self.work / "explain.log"


def explain(build: Path, spec: ModelSpec | None, subjects: Sequence[Subject], step: Step, no_model: str = "") -> Explanation:
    """Return what the differences of artifacts come from; without a config, ``no_model`` says why there is no Keras model.

    Raises:
        EdgeError: the build folder holds no reference.
    """
    started = time.monotonic()
    bench = open_bench(build, (), step, reuse=False)
    work = Path(tempfile.mkdtemp(prefix="edgeferry-explain-"))
    try:
        with Child() as runner, Child(with_keras=True) as examiner:
            workshop = Workshop(bench, spec, no_model, runner, examiner, work)
            results = []
            for number, subject in enumerate(subjects, 1):
                step(f"explaining {subject.folder.name} on {subject.target.name}", number, len(subjects))
                results.append(explained(workshop, subject))
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return Explanation(
        model=build.name,
        source_sha256=bench.reference.source_sha256,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 1),
        results=tuple(results),
    )


def explained(workshop: Workshop, subject: Subject) -> Explained:
    """Return what an artifact's difference comes from."""
    artifact = read_artifact(subject.folder)
    try:
        run = _run(workshop, subject)
    except (EdgeError, ChildError) as error:
        return _did_not_run(subject, artifact, str(error), is_unsupported=isinstance(error, Unsupported))
    return explained_run(workshop, subject, artifact, run)


def explained_run(workshop: Workshop, subject: Subject, artifact: Artifact, run: Run) -> Explained:
    """Return what an artifact's difference comes from, where it was run already, on all golden images or some."""
    import numpy as np

    whole = expected_of(workshop.bench, artifact)
    ran = tuple(range(whole.golden)) if run.image_indices is None else run.image_indices
    expected, scores = whole.of(ran), run.scores
    meant = expected.probabilities
    if scores.shape != meant.shape:
        sentence = f"its output is of shape {scores.shape}; expected {meant.shape}"
        return _did_not_run(subject, artifact, sentence, is_unsupported=False)
    found = np.nan_to_num(probabilities_of(scores, artifact.output))
    apart = np.abs(found.astype(np.float64) - meant).max(axis=1)
    images = chosen_images(workshop.bench.build, apart, IMAGES)
    examined = _examined(workshop, subject, ([ran[at] for at in images], found[images]))
    explains = None if expected.simulated is None else mean_difference(expected.simulated, meant)
    fits = (*output_fits(scores, found, meant, artifact.output, artifact.labels), *examined.fits)
    evidence = _evidence(subject, examined, (found[images], meant[images]))
    evidence = replace(evidence, difference=float(apart.mean()), expected=explains or 0.0, fits=fits)
    suspects = suspects_of(evidence)
    layers = examined.layers
    return Explained(
        format=artifact.format,
        target=subject.target.name,
        outcome=subject.outcome,
        images=len(meant),
        difference=float(apart.mean()),
        flips=_flips(found, meant, expected.decision),
        expected_difference=explains,
        stage=suspects[0].stage,
        suspects=suspects,
        layers=() if layers is None else layers.costs,
        layer_images=0 if layers is None else len(images),
        kernels="" if layers is None else layers.kernels,
        joined_layers=() if layers is None else layers.joined,
        unmatched_tensors=() if layers is None else layers.unmatched,
        residual=None if layers is None else layers.residual,
        problem=examined.problem,
        artifact_sha256=artifact.sha256,
    )


def chosen_images(build: Path, apart: "NDArray[np.float64]", count: int) -> list[int]:
    """Return which golden images are worth most: half of them those that differ most, the rest from the reference's order."""
    import numpy as np

    worst = [int(at) for at in np.argsort(-apart, kind="stable")[: count // 2]]
    return list(dict.fromkeys((*worst, *read_order(build / REFERENCE, len(apart)))))[:count]


def _run(workshop: Workshop, subject: Subject) -> Run:
    if why := subject.target.missing():
        raise Unsupported("EF-explain-target-missing", why)
    job = Job(
        subject.folder, workshop.bench.build / REFERENCE / PIXELS, workshop.work, warmup=0, rounds=1, code=workshop.bench.code
    )
    found: Run = workshop.runner.call(run_job, subject.target.name, job, log=workshop.log, timeout_s=JOB_TIMEOUT_S)
    return found


def _examined(workshop: Workshop, subject: Subject, chosen: "tuple[list[int], Array]") -> Examined:
    if workshop.spec is None:
        return Examined((), None, workshop.no_model)
    images, found = chosen
    request = Request(workshop.spec, workshop.bench.build, subject.folder, shown_by(subject), workshop.work, tuple(images), found)
    try:
        examined: Examined = workshop.examiner.call(examine, request, log=workshop.log, timeout_s=EXAMINE_TIMEOUT_S)
    except (EdgeError, ChildError) as error:
        return Examined((), None, str(error))
    return examined


def shown_by(subject: Subject) -> str:
    """Return the target that shows an artifact's layers: its own, or another that runs the same file; else its own."""
    artifact = read_artifact(subject.folder)
    others = [each for each in targets().values() if each.takes(artifact) and each.missing() is None]
    return next((each.name for each in (subject.target, *others) if each.tensors is not None), subject.target.name)


def _evidence(subject: Subject, examined: Examined, some: "tuple[Array, Array]") -> Evidence:
    found, meant = some
    layers = examined.layers
    kernels = None
    if layers is not None and layers.kernels != subject.target.name:
        kernels = probabilities_of(layers.scores, read_artifact(subject.folder).output)
    return Evidence(
        of_layers=mean_difference(found, meant),
        layers=layers,
        target=subject.target.name,
        by_kernels=None if kernels is None else mean_difference(found, kernels),
        of_kernels=None if kernels is None else mean_difference(kernels, meant),
        head=next((cost.layers[-1:] for cost in reversed(layers.costs) if cost.layers), ()) if layers is not None else (),
    )


def _flips(found: "Array", meant: "Array", decision: Decision) -> int:
    return int((~decision.agreement(found, meant).all(axis=1)).sum())


def _did_not_run(subject: Subject, artifact: Artifact, sentence: str, *, is_unsupported: bool) -> Explained:
    problem = f"it could not be run: {sentence}" if is_unsupported else sentence
    return Explained(artifact.format, subject.target.name, subject.outcome, 0, 0.0, 0, None, "unknown", (), problem=problem)
