# SPDX-License-Identifier: Apache-2.0
"""Two artifacts of a format, run on the same images by one runtime."""

import shutil
import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.diff.answers import compared_answers
from edgeferry.benchmarks.diff.result import ResultDiff, Truth
from edgeferry.benchmarks.parity.one_run import JOB_TIMEOUT_S, run_job
from edgeferry.models.artifact import Artifact
from edgeferry.models.softmax import probabilities_of
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job, Run, Target, Unsupported

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NOT_THE_SAME_IMAGES: Final = "the runs were of different images"


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
        known: "tuple[NDArray[np.int64], Truth | None]",
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
        return _measured(blank, (runs[0], runs[1]), artifacts, known)

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


def _measured(
    blank: ResultDiff,
    runs: tuple[Run, Run],
    artifacts: tuple[Artifact, Artifact],
    known: "tuple[NDArray[np.int64], Truth | None]",
) -> ResultDiff:
    import numpy as np

    old, new = (probabilities_of(run.scores, artifact.output) for run, artifact in zip(runs, artifacts, strict=True))
    if old.shape != new.shape or runs[0].image_indices != runs[1].image_indices:
        return replace(blank, reason=NOT_THE_SAME_IMAGES)
    finite = [bool(np.isfinite(each).all()) for each in (old, new)]
    if not all(finite):
        wrong = ["" if each else "its output is NaN or Inf" for each in finite]
        return _one_sided(blank, wrong, is_absent=False)
    right, truth = known
    indices = runs[1].image_indices
    answers = compared_answers(old, new, right if indices is None else right[list(indices)], truth)
    times = [
        statistics.median(run.latencies_ms) if run.latencies_ms and not run.environment.get("software_gpu") else None
        for run in runs
    ]
    return replace(blank, answers=answers, old_latency_ms=times[0], new_latency_ms=times[1])
