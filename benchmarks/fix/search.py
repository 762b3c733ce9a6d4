# SPDX-License-Identifier: Apache-2.0
"""The search: from the format as it is to all layers in float, then back to the fewest; then the proof."""

import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.explain.result import LayerCost
from edgeferry.benchmarks.explain.run import Subject, Workshop, explained_run
from edgeferry.benchmarks.fix.candidates import every_layer, in_order, kept_sets
from edgeferry.benchmarks.fix.result import Candidate, Fixed, Trial, write_fixed
from edgeferry.benchmarks.fix.trials import Trials, open_trials
from edgeferry.benchmarks.parity.bench import open_bench
from edgeferry.benchmarks.parity.one_run import JOB_TIMEOUT_S, run_job
from edgeferry.exporters.format import formats, options_of
from edgeferry.models.artifact import read_artifact
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.reference import PIXELS, REFERENCE
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Job, Target

# Formats that a search knows options of.
FIXABLE: Final = ("tflite-int8",)
SECONDS: Final = 600.0
BUDGET: Final = re.compile(r"(size|latency)=\+?(\d+(?:\.\d+)?)%")
# So many trials are asked of the half that nothing was chosen by; each more makes a pass by chance likelier.
MOST_PROOFS: Final = 3


@dataclass(frozen=True)
class Budget:
    """How much larger or slower than the format as it is a candidate may be, as a factor; None is any."""

    size: float | None = None
    latency: float | None = None

    def allows(self, trial: Trial, first: Trial) -> bool:
        """Return whether a trial stays within it."""
        is_small = self.size is None or trial.bytes <= self.size * first.bytes
        is_fast = (
            self.latency is None
            or not (trial.latency_ms and first.latency_ms)
            or (trial.latency_ms <= self.latency * first.latency_ms)
        )
        return is_small and is_fast


def budget_of(texts: Sequence[str]) -> Budget:
    """Return the budget that texts such as ``size=+10%`` stand for.

    Raises:
        EdgeError: a text is not of that form.
    """
    found: dict[str, float] = {}
    for text in texts:
        matched = BUDGET.fullmatch(text.replace(" ", ""))
        if matched is None:
            raise EdgeError("EF-fix-budget", f"--budget {text}: expected size=+10% or latency=+10%, with a number of your own.")
        found[matched[1]] = 1 + float(matched[2]) / 100
    return Budget(**found)


@dataclass(frozen=True)
class Plan:
    """What to repair, on which target, within which budget and time."""

    spec: ModelSpec
    format: str
    target: Target
    budget: Budget = Budget()
    seconds: float = SECONDS


def fix(build: Path, plan: Plan, step: Step) -> Fixed:
    """Return the smallest change that passes, chosen on one half of the golden images and proven on the other.

    Raises:
        EdgeError: the format has no options to search, was not exported, or does not run on the target.
    """
    if plan.format not in FIXABLE:
        raise EdgeError(
            "EF-fix-format", f"{plan.format} has no options that a search knows; expected one of {', '.join(FIXABLE)}."
        )
    started, work = time.monotonic(), Path(tempfile.mkdtemp(prefix="edgeferry-fix-"))
    bench = open_bench(build, (), step, reuse=False)
    try:
        with Child() as runner, Child(with_keras=True) as examiner:
            workshop = Workshop(bench, plan.spec, "", runner, examiner, work)
            trials = open_trials(workshop, plan.spec, plan.format, plan.target)
            search = _Search(trials, plan, step, started, [])
            is_finished = _searched(search)
            best, proofs = _proven(search)
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(build / "fix" / "scratch", ignore_errors=True)
    whole = [each.bytes for each in search.found if each.candidate == search.whole and each.bytes]
    found = Fixed(
        model=build.name,
        format=plan.format,
        target=plan.target.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        seconds=round(time.monotonic() - started, 1),
        trials=tuple(search.found),
        best=best,
        float_bytes=whole[0] if whole else None,
        proofs=proofs,
        is_finished=is_finished,
    )
    write_fixed(found, build)
    return found


@dataclass
class _Search:
    """What was found so far; ``whole`` is the candidate with every layer in float."""

    trials: Trials
    plan: Plan
    step: Step
    started: float
    found: list[Trial]
    whole: Candidate | None = None

    @property
    def is_over(self) -> bool:
        """Return whether the time is."""
        return time.monotonic() - self.started > self.plan.seconds

    def tried(self, candidate: Candidate) -> Trial:
        """Return what a candidate comes to; each is counted once."""
        kept = f"{len(candidate.keep_float)} layers in float" if candidate.keep_float else "every layer in integers"
        self.step(f"trying {self.plan.format}, {kept}, Dense {candidate.dense}")
        trial = self.trials.tried(candidate)
        if trial.key not in {each.key for each in self.found}:
            self.found.append(trial)
        return trial

    def passes(self, trial: Trial) -> bool:
        """Return whether a trial passes within the budget."""
        return trial.passes and self.plan.budget.allows(trial, self.found[0])


def _searched(search: _Search) -> bool:
    """Try candidates until one passes, then leave out what is not needed; return whether there was time for all of it."""
    options = options_of(formats()[search.plan.format], search.plan.spec)
    first = search.tried(Candidate(options.dense, tuple(options.keep_float)))
    if first.problem:
        raise EdgeError("EF-fix-first", f"{search.plan.format} as the config has it cannot be tried: {first.problem}")
    if search.passes(first):
        return True
    costs = _costs(search)
    every = in_order(every_layer(costs), costs)
    search.whole = Candidate(options.dense, every)
    if options.dense == "per-tensor" and search.passes(search.tried(Candidate("convolution"))):
        return True
    for layers in kept_sets(costs):
        if search.is_over:
            return False
        kept = in_order(layers, costs)
        if kept and search.passes(search.tried(Candidate(options.dense, kept))):
            return _pruned(search, Candidate(options.dense, kept))
    search.tried(search.whole)
    return True


def _pruned(search: _Search, best: Candidate) -> bool:
    """Leave out one layer after another as long as the rest passes; measure the format in float to compare with."""
    for layer in best.keep_float:
        if search.is_over:
            return False
        fewer = Candidate(best.dense, tuple(each for each in best.keep_float if each != layer))
        if fewer.keep_float and search.passes(search.tried(fewer)):
            best = fewer
    if search.whole is not None and not search.is_over:
        search.tried(search.whole)
    return True


def _costs(search: _Search) -> Sequence[LayerCost]:
    """Return what each layer of the format as it is adds, on images of the half that candidates are chosen by."""
    trials = search.trials
    search.step(f"measuring the layers of {search.plan.format}")
    subject = Subject(trials.build / search.plan.format, search.plan.target)
    shop, artifact = trials.workshop, read_artifact(subject.folder)
    job = Job(subject.folder, trials.build / REFERENCE / PIXELS, shop.work, warmup=0, rounds=1)
    run = shop.runner.call(run_job, subject.target.name, job, log=shop.log, timeout_s=JOB_TIMEOUT_S)
    half = trials.halves[0]
    found = explained_run(shop, subject, artifact, replace(run, scores=run.scores[list(half)], image_indices=half))
    if not found.layers:
        raise EdgeError("EF-fix-layers", f"the layers of {search.plan.format} cannot be measured: {found.problem}")
    return found.layers


def _proven(search: _Search) -> tuple[int | None, int]:
    """Return the number of the smallest trial that also passes on the other half, and how many were asked there."""
    able = sorted((at for at, trial in enumerate(search.found) if search.passes(trial)), key=lambda at: search.found[at].bytes)
    for asked, at in enumerate(able[:MOST_PROOFS], 1):
        search.step(f"proving candidate {at} on the other half of the images")
        search.found[at] = search.trials.proven(search.found[at])
        proof = search.found[at].proof
        if proof is not None and proof.outcome == "passed":
            return at, asked
    return None, min(len(able), MOST_PROOFS)
