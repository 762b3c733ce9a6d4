# SPDX-License-Identifier: Apache-2.0
"""The results of all shards, put together to the report that one machine would write: the scores in order, judged once."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.fleet.kept import Kept, kept_of
from edgeferry.benchmarks.fleet.plan import FleetJob, PlannedModel
from edgeferry.benchmarks.fleet.site import Site
from edgeferry.benchmarks.fleet.untimed import untimed_facts
from edgeferry.benchmarks.parity.bench import blank_row
from edgeferry.benchmarks.parity.check import report_on
from edgeferry.benchmarks.parity.one_run import Attempt, judged
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.results import keep_row, known_rows
from edgeferry.benchmarks.parity.rows import Report, Row, cleaned
from edgeferry.benchmarks.parity.run import rows_with
from edgeferry.models.artifact import Artifact
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import choose

# So many shards are named in an error.
MOST_NAMED: Final = 20


@dataclass(frozen=True)
class Lack:
    """A job whose result is missing or damaged."""

    job: FleetJob
    is_damaged: bool


def lacking(site: Site) -> list[Lack]:
    """Return the jobs of a plan that no whole result is kept of."""
    found = []
    for _, job in site.plan.jobs():
        data = site.store.read(job.id)
        if data is None or kept_of(data) is None:
            found.append(Lack(job, data is not None))
    return found


def refuse_lacking(site: Site, path: Path) -> None:
    """Refuse a merge where results are missing or damaged.

    Raises:
        EdgeError: names the shards to run again.
    """
    lacks = lacking(site)
    if not lacks:
        return
    shards, damaged = sorted({each.job.shard for each in lacks}), sum(each.is_damaged for each in lacks)
    names = [f"{each}/{site.plan.shards}" for each in shards]
    more = " ..." if names[MOST_NAMED:] else ""
    what = f"{len(lacks) - damaged} of {sum(1 for _ in site.plan.jobs())} results are missing and {damaged} are damaged"
    raise EdgeError(
        "EF-fleet-damaged" if damaged else "EF-fleet-missing",
        f"{what}, of shards {', '.join(names[:MOST_NAMED])}{more}. Run each of them again with the same --cache: "
        f"`edgeferry run {path} --shard {names[0]}`.",
    )


def merged(site: Site, model: PlannedModel) -> Report:
    """Return the report on a model, from the results of all its jobs; whoever calls owns the build folder.

    Raises:
        EdgeError: a result is missing or damaged, the build is not the one that was planned, or shards do not go together.
    """
    bench, machines = site.bench(model), list[Mapping[str, str]]()
    found = rows_with(bench, lambda artifacts: _rows(site, model, artifacts, machines))
    report = report_on(bench, found, site.plan.scope(model), model.required)
    created = max((row.checked for row in found if row.checked), default=datetime.now(UTC).isoformat(timespec="seconds"))
    return replace(report, created=created, machine=_together(machines) or report.machine)


def _rows(site: Site, model: PlannedModel, artifacts: Mapping[str, Artifact], machines: list[Mapping[str, str]]) -> Iterator[Row]:
    """Yield the rows of a model's artifacts: those that could not run where the plan was made, then those that ran."""
    bench = site.bench(model)
    for name, planned in site.plan.targets.items():
        (target,) = choose((name,))
        for artifact in artifacts.values():
            if planned.missing and name not in site.plan.named and target.takes(artifact):
                yield blank_row(bench, artifact, (artifact.format, name), Verdict("not run", planned.missing))
    known = known_rows(bench.build)
    for (_, target_name), several in groupby(model.jobs, key=lambda job: (job.format, job.target)):
        jobs = sorted(several, key=lambda job: job.first)
        results = [_result(site, job) for job in jobs]
        _refuse_other_versions(target_name, results)
        machines += [each.machine for each in results]
        artifact = site.artifact(model, jobs[0])
        whole = joined([each.attempt for each in results], jobs)
        ran = judged(bench, artifact, target_name, whole)
        # Judging is not counted: merging again gives the same row.
        ran = replace(ran, row=replace(ran.row, seconds=None if whole.seconds is None else round(whole.seconds, 3)))
        if jobs[0].key not in known or known[jobs[0].key] != cleaned(ran.row):
            keep_row(bench.build, jobs[0].key if ran.is_lasting else "", ran.row, ran.latencies_ms)
        yield ran.row


def _result(site: Site, job: FleetJob) -> Kept:
    kept = kept_of(site.store.read(job.id) or b"")
    if kept is None:
        raise EdgeError(
            "EF-fleet-missing",
            f"the result of {job.format} on {job.target} is missing or damaged; run shard {job.shard}/{site.plan.shards} again.",
        )
    return kept


def _refuse_other_versions(target: str, results: Sequence[Kept]) -> None:
    if len({each.follows_from for each in results}) > 1:
        raise EdgeError(
            "EF-fleet-versions",
            f"{target}: its shards ran with different versions of it or of edgeferry; run them again with the same.",
        )


def joined(parts: Sequence[Attempt], jobs: Sequence[FleetJob]) -> Attempt:
    """Return what one machine would have made of all images, from what several made of their parts, in order.

    Where a part did not run, neither did the whole, and the first such part says why.

    Raises:
        EdgeError: parts are missing, or ran in another way than the others: another delegate, other labels.
    """
    first, seconds = parts[0], sum(each.seconds or 0.0 for each in parts)
    ends = [(job.first, job.last) for job in jobs]
    if len(parts) == 1 and ends[0] == (0, jobs[0].images):
        return first
    if [at for at, _ in ends] != [0, *(end for _, end in ends[:-1])] or ends[-1][1] != jobs[0].images:
        raise EdgeError("EF-fleet-parts", f"{jobs[0].format} on {jobs[0].target}: its parts are not all images; plan again.")
    checked = max(each.checked for each in parts)
    for each in parts:
        if each.run is None:
            return replace(each, seconds=seconds, checked=checked)
    return replace(first, run=_joined_runs(parts, jobs), seconds=seconds, checked=checked)


def _joined_runs(parts: Sequence[Attempt], jobs: Sequence[FleetJob]) -> Any:
    import numpy as np

    runs = [each.run for each in parts if each.run is not None]
    for run, job in zip(runs, jobs, strict=True):
        where = f"images {job.first} to {job.last - 1} of {job.format} on {job.target}"
        if len(run.scores) != job.last - job.first or run.scores.shape[1:] != runs[0].scores.shape[1:]:
            raise EdgeError("EF-fleet-parts", f"{where}: the scores are {list(run.scores.shape)}; run shard {job.shard} again.")
        if untimed_facts(run.environment) != untimed_facts(runs[0].environment) or run.labels != runs[0].labels:
            raise EdgeError(
                "EF-fleet-environment",
                f"{where} ran in another way than the first images: {dict(run.environment)}, expected "
                f"{dict(runs[0].environment)}. Run shard {job.shard} again on a machine like the others.",
            )
    stored = [run.stored for run in runs if run.stored is not None]
    return replace(
        runs[0],
        scores=np.concatenate([run.scores for run in runs]),
        stored=np.concatenate(stored) if len(stored) == len(runs) else None,
    )


def _together(machines: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Return what the machines of all shards are; where they differ, every value, in order."""
    names = dict.fromkeys(name for each in machines for name in each)
    return {name: ", ".join(sorted({each[name] for each in machines if name in each})) for name in names}
