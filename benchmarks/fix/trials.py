# SPDX-License-Identifier: Apache-2.0
"""Candidates exported, run and judged on halves of the golden images; what was tried is kept and not tried again."""

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.explain.run import Workshop
from edgeferry.benchmarks.fix.result import FIX, Candidate, Half, Trial
from edgeferry.benchmarks.parity.judging.evidence import at_least
from edgeferry.benchmarks.parity.judging.verdict import judge
from edgeferry.benchmarks.parity.one_run import JOB_TIMEOUT_S, expected_of, run_job
from edgeferry.benchmarks.parity.sound import with_tolerance
from edgeferry.benchmarks.selftest.planting import link_build
from edgeferry.exporters import worker
from edgeferry.models.artifact import Artifact, read_artifact
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.golden.order import read_order
from edgeferry.models.reference import PIXELS, REFERENCE
from edgeferry.models.system.child import ChildError
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import append_line, digest
from edgeferry.targets.target import Job, Run, Target

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCRATCH: Final = "fix/scratch"
EXPORT_TIMEOUT_S: Final = 1800.0


@dataclass(frozen=True, eq=False)
class Trials:
    """A format of a model on a target, the numbers of the golden images of either half, and what was tried so far."""

    workshop: Workshop
    spec: ModelSpec
    format: str
    target: Target
    halves: tuple[tuple[int, ...], tuple[int, ...]]
    done: dict[str, Trial] = field(default_factory=dict)
    scores: "dict[str, NDArray[np.float32]]" = field(default_factory=dict)

    @property
    def build(self) -> Path:
        """Return the model's build folder."""
        return self.workshop.bench.build

    @property
    def scratch(self) -> Path:
        """Return the build folder of candidates."""
        return self.build / SCRATCH

    def tried(self, candidate: Candidate) -> Trial:
        """Return what a candidate comes to, on the half that candidates are chosen by; one that is known is not tried again."""
        key = digest([asdict(candidate), self._follows_from()])
        if key not in self.done:
            self.done[key] = self._measured(candidate, key)
            append_line(kept_in(self.build, self.format), json.dumps(asdict(self.done[key])))
        return self.done[key]

    def proven(self, trial: Trial) -> Trial:
        """Return a trial with the verdict on the other half; one of an earlier search is exported and run again."""
        if trial.key not in self.scores:
            self._run(trial.candidate, trial.key)
        return replace(trial, proof=self._half(trial.key, self.halves[1]))

    def _follows_from(self) -> Any:
        bench = self.workshop.bench
        code = CodeDigests().of("edgeferry.exporters.tflite.formats", self.target.module)
        tolerance = asdict(with_tolerance(read_artifact(self.build / self.format), bench.exports.tolerances, bench.reference))
        return [bench.reference.sha256, self.format, self.target.name, dict(self.target.versions()), code, tolerance["tolerance"]]

    def _measured(self, candidate: Candidate, key: str) -> Trial:
        try:
            run = self._run(candidate, key)
        except (EdgeError, ChildError) as error:
            return Trial(candidate, key, problem=str(error))
        size = read_artifact(self.scratch / self.format).bytes
        latency = statistics.median(run.latencies_ms) if run.latencies_ms else None
        return Trial(candidate, key, size, latency, self._half(key, self.halves[0]))

    def _run(self, candidate: Candidate, key: str) -> Run:
        shop = self.workshop
        places = (self.build, self.scratch)
        shop.examiner.call(export, self.spec, places, self.format, candidate, log=shop.log, timeout_s=EXPORT_TIMEOUT_S)
        job = Job(self.scratch / self.format, self.build / REFERENCE / PIXELS, shop.work)
        run: Run = shop.runner.call(run_job, self.target.name, job, log=shop.log, timeout_s=JOB_TIMEOUT_S)
        self.scores[key] = run.scores
        return run

    def _half(self, key: str, images: Sequence[int]) -> Half:
        bench, chosen = self.workshop.bench, list(images)
        artifact = with_tolerance(read_artifact(self.scratch / self.format), bench.exports.tolerances, bench.reference)
        verdict = judge(self.scores[key][chosen], None, artifact, expected_of(bench, artifact).of(tuple(chosen)))
        agreement = verdict.metrics.get("top1_agreement")
        shown = None if agreement is None else at_least(round(agreement * len(chosen)), len(chosen))
        return Half(verdict.outcome, verdict.reason, len(chosen), agreement, shown, verdict.metrics.get("mean_difference"))


def open_trials(workshop: Workshop, spec: ModelSpec, form: str, target: Target) -> Trials:
    """Return the trials of a format, with those that an earlier search kept."""
    build = workshop.bench.build
    link_build(build, build / SCRATCH)
    # Classes take turns in this order, and so do the halves.
    order = read_order(build / REFERENCE, workshop.bench.reference.images)
    halves = (tuple(sorted(order[::2])), tuple(sorted(order[1::2])))
    return Trials(workshop, spec, form, target, halves, earlier(build, form))


def kept_in(build: Path, form: str) -> Path:
    """Return the file that keeps the trials of a format, one line each."""
    return build / FIX / f"{form}.jsonl"


def earlier(build: Path, form: str) -> dict[str, Trial]:
    """Return the trials that were kept, by key; a line that cannot be read is left out."""
    found = {}
    file = kept_in(build, form)
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        try:
            data = json.loads(line)
            candidate = Candidate(data["candidate"]["dense"], tuple(data["candidate"]["keep_float"]))
            half = None if data["chosen"] is None else Half(**data["chosen"])
            found[data["key"]] = Trial(**{**data, "candidate": candidate, "chosen": half, "proof": None})
        except (ValueError, TypeError, KeyError):
            continue
    return found


def export(spec: ModelSpec, places: tuple[Path, Path], form: str, candidate: Candidate) -> None:
    """Write a format with a candidate's options into the scratch build folder; called in the child process that exports."""
    worker.quieten()
    build, scratch = places
    source = worker.source_of(spec, build)
    options = spec.export_table(form) | {"dense": candidate.dense, "keep_float": list(candidate.keep_float)}
    tables = dict(spec.format_options) | {form: json.dumps(options)}
    other = replace(source, spec=replace(spec, format_options=tuple(tables.items())))
    honest: Artifact = read_artifact(build / form)
    worker.write_source(other, scratch, form, honest.made_from)
