# SPDX-License-Identifier: Apache-2.0
"""Every artifact on every target that reads it, each run in a child process, each result kept the moment it is there."""

import json
import shutil
import statistics
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import count, groupby
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.expected import images_to_run, read_expected
from edgeferry.benchmarks.parity.integers import MOST_STEPS, compare, expected_integers
from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.parity.results import RUNS, keep_row, known_rows
from edgeferry.benchmarks.parity.rows import NO_TARGET, Row
from edgeferry.benchmarks.parity.verdict import judge
from edgeferry.models.artifact import EXPORTS, Artifact, read_artifact, what_changed
from edgeferry.models.reference import PIXELS, REFERENCE, Reference, read_reference
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.digests import INDEX, Digests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, digest, explain_disk_errors, sha256_of
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Absent, Job, Run, Target, Unsupported, targets

JOB_TIMEOUT_S: Final = 900.0
# What is timed, not judged, runs so many golden images before it is timed on the first of them.
FEW: Final = 8


@dataclass(frozen=True)
class Bench:
    """One model's artifacts and what they are compared with.

    ``reuse`` uses earlier results of the same files and code; ``formats`` names those to check, empty for all that were exported.
    ``child`` is the process that runs them, where it is to be used again; without it every target has one of its own.
    """

    build: Path
    reference: Reference
    targets: tuple[Target, ...]
    step: Step
    reuse: bool
    digests: Digests
    formats: tuple[str, ...] = ()
    child: Child | None = None

    @property
    def sha256(self) -> Sha256:
        """Return what digests artifacts: where nothing is reused, their bytes are read."""
        return self.digests.sha256 if self.reuse else sha256_of


@dataclass(frozen=True)
class _Planned:
    """An artifact on a target: its row where that is known already, None where it has to run; ``key`` names its result."""

    target: Target
    artifact: Artifact
    key: str
    row: Row | None


def open_bench(build: Path, selected: tuple[Target, ...], step: Step, *, reuse: bool, formats: tuple[str, ...] = ()) -> Bench:
    """Return the bench for a model's folder.

    Raises:
        EdgeError: nothing was exported there.
    """
    digests = Digests(build / INDEX)
    reference = read_reference(build / REFERENCE, digests.sha256 if reuse else sha256_of)
    if reference is None:
        raise EdgeError("EF-reference-missing", f"{build} holds no reference; export the model first with `make export-all`.")
    return Bench(build, reference, selected, step, reuse, digests, formats)


def run_all(bench: Bench) -> tuple[Row, ...]:
    """Return the rows of everything that was exported, by format and target.

    Every run is a step, with its number and how many there will be.
    """
    artifacts: dict[str, Artifact] = {}
    rows: dict[str, list[Row]] = {}
    chosen = [each for each in _exports(bench.build) if not bench.formats or each[0] in bench.formats]
    for name, state, reason in sorted(chosen):
        found = _exported(bench, name, state, reason)
        rows[name] = [found] if isinstance(found, Row) else []
        if isinstance(found, Artifact):
            artifacts[name] = found
    for row in _carried_out(bench, _plan(bench, artifacts)):
        rows[row.format].append(row)
    bench.digests.save()
    return tuple(row for name, found in rows.items() for row in _settled(bench, artifacts.get(name), found))


def _exports(build: Path) -> list[tuple[str, str, str]]:
    try:
        record = json.loads((build / EXPORTS).read_text(encoding="utf-8"))
        return [(each["format"], each["state"], each["reason"]) for each in record["formats"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise EdgeError(
            "EF-exports-unreadable", f"{build / EXPORTS} cannot be read; export the model first with `make export-all`."
        ) from None


def _exported(bench: Bench, name: str, state: str, reason: str) -> Artifact | Row:
    """Return an artifact that can be run, or the row that says why there is none."""
    if state == "not run":
        return Row(name, NO_TARGET, Verdict("not run", reason))
    if state == "failed":
        return Row(name, NO_TARGET, Verdict("failed", f"not exported: {reason}"))
    artifact, problem = sound(bench.build, bench.reference, name, bench.sha256)
    if artifact is None or problem is not None:
        verdict = Verdict("failed", str(problem), problem.code if problem else None)
        return _row(bench, artifact, (name, NO_TARGET), verdict)
    return artifact


def sound(build: Path, reference: Reference, name: str, sha256: Sha256 = sha256_of) -> tuple[Artifact | None, EdgeError | None]:
    """Return an artifact of a model's folder, and what is wrong with it before it is even run."""
    folder = build / name
    try:
        artifact = read_artifact(folder)
    except EdgeError as error:
        return None, error
    if artifact.source_sha256 != reference.source_sha256:
        return artifact, EdgeError(
            "EF-artifact-stale", "stale: it was exported from another model than the reference; run `make export-all`"
        )
    changed = what_changed(artifact, folder, sha256)
    return artifact, EdgeError("EF-artifact-changed", f"{changed}; run `make export-all`") if changed else None


def _plan(bench: Bench, artifacts: dict[str, Artifact]) -> list[_Planned]:
    """Return every artifact on every target that reads it, by target."""
    known = known_rows(bench.build) if bench.reuse else {}
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
            _Planned(target, artifact, "", _row(bench, artifact, (artifact.format, target.name), Verdict("not run", why)))
            for artifact in readable
        ]
    follows_from = target_digest(target, code)
    keys = [key_of(bench, target, artifact, follows_from) for artifact in readable]
    return [_Planned(target, artifact, key, known.get(key)) for artifact, key in zip(readable, keys, strict=True)]


def _carried_out(bench: Bench, plan: list[_Planned]) -> Iterator[Row]:
    """Yield the row of everything planned; those of one target share a child process."""
    numbers, total = count(1), sum(each.row is None for each in plan)
    for _, group in groupby(plan, key=lambda each: each.target.name):
        with nullcontext(bench.child) if bench.child is not None else Child() as child:
            for each in group:
                if each.row is None:
                    bench.step(f"checking {each.artifact.format} on {each.target.name}", next(numbers), total)
                yield each.row or _run(bench, each, child)


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
            target.name,
            follows_from,
        ]
    )


def target_digest(target: Target, code: CodeDigests) -> str:
    """Return the digest of a target's runtime and of the code that runs and judges."""
    return digest([dict(target.versions()), code.of(target.module, __name__)])


def _run(bench: Bench, planned: _Planned, child: Child) -> Row:
    artifact, target, key = planned.artifact, planned.target, planned.key
    work = bench.build / RUNS / target.name / artifact.format
    with explain_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    job = Job(bench.build / artifact.format, images_to_run(bench.build), work)
    log = work / "run.log"
    log.unlink(missing_ok=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    blank = replace(_row(bench, artifact, (artifact.format, target.name), Verdict("failed", "")), checked=now)
    latencies: tuple[float, ...] = ()
    try:
        run = child.call(run_job, target.name, job, log=log, timeout_s=JOB_TIMEOUT_S)
        latencies = run.latencies_ms
        row = _judged(bench, blank, run, artifact)
    except Absent as error:
        row = replace(blank, verdict=Verdict("not run", str(error), error.code))
        # What is absent may be back by the next time.
        key = ""
    except Unsupported as error:
        row = replace(blank, verdict=Verdict("unsupported", str(error), error.code))
    except (EdgeError, ChildError) as error:
        code = error.code if isinstance(error, EdgeError) else None
        row = replace(blank, verdict=Verdict("failed", f"it did not run: {error}", code))
        # An accident may have passed by the next time: kept as a line, never used again.
        key = ""
    tidy(work, log)
    keep_row(bench.build, key, row, latencies)
    return row


def tidy(work: Path, log: Path) -> None:
    """Remove what a target left in its working folder, images above all; its log stays."""
    for path in work.iterdir():
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif path != log:
            path.unlink()


def few_images(build: Path, folder: Path) -> Path:
    """Write a model's first golden images to a file in a folder, which it returns."""
    import numpy as np

    few = folder / "few.npy"
    np.save(few, np.load(build / REFERENCE / PIXELS, mmap_mode="r")[:FEW])
    return few


def run_job(target: str, job: Job) -> Run:
    """Return what a target makes of a job; called in the child process."""
    return targets()[target].run(job)


def _judged(bench: Bench, blank: Row, run: Run, artifact: Artifact) -> Row:
    expected = read_expected(bench.build / REFERENCE, bench.reference.labels).of(run.image_indices)
    verdict = judge(run.scores, run.labels, artifact, expected)
    facts: dict[str, Any] = {"first_ms": run.first_ms}
    if run.stored is not None and "parent_sha256" in artifact.options:
        found = compare(run.stored, expected_integers(bench.build, artifact, images_to_run(bench.build)))
        facts |= {"integer_steps": found.steps, "integer_other_classes": found.other_classes}
        verdict = _with_integers(verdict, found.problem)
    # The times of a software-rendered GPU say nothing of any GPU.
    timed = bool(run.latencies_ms) and not run.environment.get("software_gpu")
    return replace(
        blank,
        verdict=verdict,
        latency_ms_median=statistics.median(run.latencies_ms) if timed else None,
        load_ms=run.load_ms,
        environment=dict(run.environment) | facts,
    )


def _with_integers(verdict: Verdict, problem: str) -> Verdict:
    """Return a compiled artifact's verdict with the rule for integers applied too."""
    if problem:
        return replace(verdict, outcome="failed", reason=problem if verdict.passed else f"{verdict.reason}; {problem}")
    return replace(verdict, reason=f"{verdict.reason}; every integer within {MOST_STEPS} step of its parent's")


def _row(bench: Bench, artifact: Artifact | None, place: tuple[str, str], verdict: Verdict) -> Row:
    """Return the row of a format on a target before anything was measured."""
    row = Row(*place, verdict, reference_accuracy=bench.reference.accuracy)
    if artifact is None:
        return row
    return replace(row, bytes=artifact.bytes, artifact_sha256=artifact.sha256, tolerance=artifact.tolerance)


def _settled(bench: Bench, artifact: Artifact | None, rows: list[Row]) -> list[Row]:
    """Return an artifact's rows; where every runtime for it is absent they say that it was not checked."""
    if artifact is None:
        return rows
    if not rows:
        verdict = Verdict("not checked", f"no requested target reads it{_who_reads(artifact)}")
        return [_row(bench, artifact, (artifact.format, NO_TARGET), verdict)]
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
