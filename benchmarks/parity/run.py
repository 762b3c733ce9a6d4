# SPDX-License-Identifier: Apache-2.0
"""Every artifact on every target that reads it: what has to run, and the rows of all."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import count

from edgeferry.benchmarks.parity.bench import Bench, blank_row, exported, key_of, target_digest
from edgeferry.benchmarks.parity.gpus import SoftwareGpus, is_full_precision
from edgeferry.benchmarks.parity.judging.expected import images_to_run
from edgeferry.benchmarks.parity.judging.provenance.kept import known_checks, with_weights
from edgeferry.benchmarks.parity.lanes import Lane, SideBySide, lane_count
from edgeferry.benchmarks.parity.one_run import Ran, run_one
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.results import keep_row, known_rows
from edgeferry.benchmarks.parity.rows import NO_TARGET, Row
from edgeferry.models.artifact import Artifact
from edgeferry.models.system.closure import CodeDigests
from edgeferry.targets.target import Target, targets


@dataclass(frozen=True)
class _Planned:
    """An artifact on a target: its row where that is known already, None where it has to run; ``key`` names its result."""

    target: Target
    artifact: Artifact
    key: str
    row: Row | None


def run_all(bench: Bench) -> tuple[Row, ...]:
    """Return the rows of everything that was exported, by format and target.

    Every run is a step, with its number and how many there will be.
    """
    return rows_with(bench, lambda artifacts: _carried_out(bench, _plan(bench, artifacts)))


def rows_with(bench: Bench, found_of: Callable[[dict[str, Artifact]], Iterable[Row]]) -> tuple[Row, ...]:
    """Return the rows of everything that was exported; ``found_of`` returns those of the artifacts that can be run, by format."""
    artifacts: dict[str, Artifact] = {}
    rows: dict[str, list[Row]] = {}
    chosen = [export for export in bench.exports.formats if not bench.formats or export.format in bench.formats]
    for export in sorted(chosen, key=lambda export: export.format):
        name, found = export.format, exported(bench, export)
        rows[name] = [found] if isinstance(found, Row) else []
        if isinstance(found, Artifact):
            artifacts[name] = found
    for row in found_of(artifacts):
        rows[row.format].append(row)
    weights = known_checks(bench.build, artifacts, bench.sha256, reuse=bench.reuse)
    bench.digests.save()
    return tuple(
        row
        for name, found in rows.items()
        for row in with_weights(_settled(bench, artifacts.get(name), found), weights.get(name))
    )


def _plan(bench: Bench, artifacts: dict[str, Artifact]) -> list[_Planned]:
    """Return every artifact on every target that reads it, by target."""
    known = known_rows(bench.build) if bench.reuse else {}
    # What software-rendered GPUs were spared, they run where they are named.
    known = {key: row for key, row in known.items() if row.outcome != "not run" or row.target not in bench.named_targets}
    code = CodeDigests(bench.digests.sha256)
    return [each for target in bench.targets for each in _plan_target(bench, target, artifacts, known, code)]


def _plan_target(
    bench: Bench, target: Target, artifacts: dict[str, Artifact], known: dict[str, Row], code: CodeDigests
) -> list[_Planned]:
    readable = [artifact for artifact in artifacts.values() if target.takes(artifact)]
    if not readable:
        return []
    if why := target.missing():
        return [
            _Planned(target, artifact, "", blank_row(bench, artifact, (artifact.format, target.name), Verdict("not run", why)))
            for artifact in readable
        ]
    follows_from = target_digest(target, code)
    keys = [key_of(bench, target, artifact, follows_from) for artifact in readable]
    return [_Planned(target, artifact, key, known.get(key)) for artifact, key in zip(readable, keys, strict=True)]


def _carried_out(bench: Bench, plan: list[_Planned]) -> Iterator[Row]:
    """Yield the row of everything planned, each kept as soon as it is there: those known, those side by side, those alone."""
    gpus = SoftwareGpus(bench.build)
    for each in plan:
        if each.row is not None:
            gpus.record(each.target, each.artifact, each.row.environment)
            yield each.row
    waiting = [each for each in plan if each.row is None]
    if waiting:
        # Written before jobs that read it run side by side.
        images_to_run(bench.build, bench.runs)
    numbers = count(1)

    def run(each: _Planned, lane: Lane) -> tuple[_Planned, Ran]:
        number, target, artifact = next(numbers), each.target, each.artifact
        if target.name not in bench.named_targets and (why := gpus.why_not(target, artifact)):
            return each, Ran(blank_row(bench, artifact, (artifact.format, target.name), why))
        bench.step(f"checking {artifact.format} on {target.name}", number, len(waiting))
        begun = time.monotonic()
        ran = run_one(bench, artifact, target, lane)
        gpus.record(target, artifact, ran.row.environment, time.monotonic() - begun)
        return each, ran

    beside = [each for each in waiting if each.target.side_by_side]
    alone = sorted(
        (each for each in waiting if not each.target.side_by_side), key=lambda each: not is_full_precision(each.artifact)
    )
    # Counting cores and memory imports psutil, which a run with nothing to do does not need.
    for lanes, some in ((lane_count() if beside else 1, beside), (1, alone)):
        for each, ran in SideBySide(lanes, lambda each: each.target.name, run, bench.child).results(some):
            keep_row(bench.build, each.key if ran.is_lasting else "", ran.row, ran.latencies_ms)
            yield ran.row


def _settled(bench: Bench, artifact: Artifact | None, rows: list[Row]) -> list[Row]:
    """Return an artifact's rows; where every runtime for it is absent they say that it was not checked."""
    if artifact is None:
        return rows
    if not rows:
        verdict = Verdict("not checked", f"no requested target reads it{_who_reads(artifact)}")
        return [blank_row(bench, artifact, (artifact.format, NO_TARGET), verdict)]
    if any(row.outcome not in {"not run", "unsupported"} for row in rows):
        return rows
    return [replace(row, verdict=_not_checked(row.verdict)) if row.outcome == "not run" else row for row in rows]


def _not_checked(verdict: Verdict) -> Verdict:
    reason = f"it was exported, but no runtime for it is available here: {verdict.reason}"
    return replace(verdict, outcome="not checked", reason=reason)


def _who_reads(artifact: Artifact) -> str:
    """Return in words what to request where no target that runs by default reads the artifact."""
    able = [target for target in targets().values() if target.takes(artifact) and target.judged]
    if any(target.by_default for target in able):
        return ""
    return "".join(f"; {target.name} does: {target.missing() or f'--target {target.name}'}" for target in able)
