# SPDX-License-Identifier: Apache-2.0
"""Two artifacts of a format, run on the same images by one runtime."""

import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.diff.answers import Known, compared_answers
from edgeferry.benchmarks.diff.result import ResultDiff
from edgeferry.benchmarks.parity.one_run import JOB_TIMEOUT_S, run_job
from edgeferry.models.artifact import Artifact
from edgeferry.models.decision import probabilities_of
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job, Run, Target, Unsupported

NO_COMMON_IMAGE: Final = "the runs have no image in common"


@dataclass(frozen=True)
class PairRunner:
    """Runs both artifacts of a format on one target, in one child process."""

    child: Child
    pixels: Path
    work: Path
    target: Target

    def compared(
        self,
        form: str,
        places: tuple[Path, Path],
        artifacts: tuple[Artifact, Artifact],
        known: Known,
    ) -> ResultDiff:
        """Return the result of a format."""
        blank = ResultDiff(form, self.target.name, "not compared", "")
        if why := self.target.missing():
            return replace(blank, reason=why)
        runs, problems, absent = [], [], False
        for place in places:
            try:
                runs.append(self._run(place / form))
                problems.append("")
            except Unsupported as error:
                problems.append(str(error))
                absent = True
            except (EdgeError, ChildError) as error:
                problems.append(str(error))
        if any(problems):
            return _one_sided(blank, problems, is_absent=absent)
        return measured(blank, (runs[0], runs[1]), artifacts, known)

    def _run(self, folder: Path) -> Run:
        work = Path(tempfile.mkdtemp(dir=self.work))
        job = Job(folder, self.pixels, work)
        try:
            run: Run = self.child.call(run_job, self.target.name, job, log=work / "run.log", timeout_s=JOB_TIMEOUT_S)
        except EdgeError:
            shutil.rmtree(work, ignore_errors=True)
            raise
        # Of one that crashed the message names the log, which stays.
        shutil.rmtree(work, ignore_errors=True)
        return run


def _one_sided(blank: ResultDiff, problems: Sequence[str], *, is_absent: bool) -> ResultDiff:
    """Return the result where one artifact or both did not run."""
    old, new = problems
    if is_absent or (old and new):
        return replace(blank, reason=new or old)
    if new:
        return replace(blank, state="worse", reason=f"the old one runs, the new one does not: {new}")
    return replace(blank, state="better", reason=f"the new one runs, the old one did not: {old}")


def measured(
    blank: ResultDiff,
    runs: tuple[Run, Run],
    artifacts: tuple[Artifact, Artifact],
    known: Known,
) -> ResultDiff:
    """Return how the answers of two runs differ; ``known`` holds the right answers and what they are known by."""
    problems = [_problem(run, artifact) for run, artifact in zip(runs, artifacts, strict=True)]
    if any(problems):
        return _one_sided(blank, problems, is_absent=False)
    # A slow runtime may run only some of them, and not the same ones every time.
    ran = [range(len(known.right)) if run.image_indices is None else run.image_indices for run in runs]
    common = sorted(set(ran[0]) & set(ran[1]))
    if not common:
        return replace(blank, reason=NO_COMMON_IMAGE)
    old, new = (
        probabilities_of(run.scores, artifact.output)[[indices.index(image) for image in common]]
        for run, artifact, indices in zip(runs, artifacts, ran, strict=True)
    )
    found = compared_answers(old, new, known.of(common))
    answers = replace(found, flips=tuple(replace(flip, image=common[flip.image]) for flip in found.flips))
    times = [
        statistics.median(run.latencies_ms) if run.latencies_ms and not run.environment.get("software_gpu") else None
        for run in runs
    ]
    return replace(blank, answers=answers, old_latency_ms=times[0], new_latency_ms=times[1])


def _problem(run: Run, artifact: Artifact) -> str:
    """Return why scores are no answers, or nothing."""
    import numpy as np

    if run.scores.ndim != 2 or run.scores.shape[1] != len(artifact.labels):
        return f"its output is of shape {run.scores.shape}; expected {len(artifact.labels)} classes for every image"
    return "" if np.isfinite(run.scores).all() else "its output is NaN or Inf; expected numbers"
