# SPDX-License-Identifier: Apache-2.0
"""Every artifact on every target that reads it, each run in a child process, each result kept the moment it is there."""

import json
import shutil
import statistics
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.integers import MOST_STEPS, compare, expected_integers
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.parity.verdict import Answers, judge, read_answers
from edgeferry.models.artifact import Artifact, read_artifact, what_changed
from edgeferry.models.reference import PIXELS, Reference, read_reference
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.digests import INDEX, Digests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, append_line, digest, explain_disk_errors, sha256_of
from edgeferry.models.system.terminal import Step
from edgeferry.targets.target import Absent, Job, Run, Target, Unsupported, targets

SCHEMA: Final = 1
RESULTS: Final = "results.jsonl"
RUNS: Final = "runs"
REFERENCE: Final = "reference"
EXPORTS: Final = "exports.json"
JOB_TIMEOUT_S: Final = 900.0
# What is timed, not judged, answers so many golden images before it is timed on the first of them.
FEW: Final = 8


@dataclass(frozen=True)
class Bench:
    """One model's artifacts and what they are held to. ``reuse`` takes results of the same files, code and versions again."""

    build: Path
    reference: Reference
    asked: tuple[Target, ...]
    step: Step
    reuse: bool
    digests: Digests

    @property
    def sha256(self) -> Sha256:
        """Return what digests artifacts: where nothing is reused, their bytes are read."""
        return self.digests.sha256 if self.reuse else sha256_of


def open_bench(build: Path, asked: tuple[Target, ...], step: Step, *, reuse: bool) -> Bench:
    """Return the bench for a model's folder.

    Raises:
        EdgeError: nothing was exported there.
    """
    digests = Digests(build / INDEX)
    reference = read_reference(build / REFERENCE, digests.sha256 if reuse else sha256_of)
    if reference is None:
        raise EdgeError(f"{build} holds no reference; export the model first with `make export-all`.")
    return Bench(build, reference, asked, step, reuse, digests)


def run_all(bench: Bench) -> tuple[Row, ...]:
    """Return the rows of everything that was exported, by format and target."""
    exports = sorted(_exports(bench.build))
    rows: dict[str, list[Row]] = {name: [] for name, _, _ in exports}
    whole: dict[str, Artifact] = {}
    for name, state, reason in exports:
        if state == "not run":
            rows[name].append(Row(name, "-", "not run", reason))
        elif state == "failed":
            rows[name].append(Row(name, "-", "failed", f"not exported: {reason}"))
        else:
            artifact, problem = sound(bench.build, bench.reference, name, bench.sha256)
            if artifact is None or problem:
                rows[name].append(_about(Row(name, "-", "failed", problem), artifact, bench))
            else:
                whole[name] = artifact
    for target in bench.asked:
        for row in _on_target(bench, target, whole):
            rows[row.format].append(row)
    bench.digests.save()
    return tuple(row for name, artifact_rows in rows.items() for row in _settled(name, artifact_rows, whole.get(name), bench))


def _exports(build: Path) -> list[tuple[str, str, str]]:
    try:
        told = json.loads((build / EXPORTS).read_text(encoding="utf-8"))
        return [(each["format"], each["state"], each["reason"]) for each in told["formats"]]
    except (OSError, ValueError, KeyError, TypeError):
        raise EdgeError(f"{build / EXPORTS} cannot be read; export the model first with `make export-all`.") from None


def sound(build: Path, reference: Reference, name: str, sha256: Sha256 = sha256_of) -> tuple[Artifact | None, str]:
    """Return an artifact of a model's folder, and what is wrong with it before it is even run."""
    folder = build / name
    try:
        artifact = read_artifact(folder)
    except EdgeError as error:
        return None, str(error)
    if artifact.source_sha256 != reference.source_sha256:
        return artifact, "stale: it was exported from another model than the one it is held to; run `make export-all`"
    changed = what_changed(artifact, folder, sha256)
    return artifact, f"{changed}; run `make export-all`" if changed else ""


def _on_target(bench: Bench, target: Target, artifacts: dict[str, Artifact]) -> list[Row]:
    readable = {name: artifact for name, artifact in artifacts.items() if target.takes(artifact)}
    if not readable:
        return []
    why = target.missing()
    if why:
        return [_about(Row(name, target.name, "not run", why), artifact, bench) for name, artifact in readable.items()]
    follows_from = digest([dict(target.versions()), CodeDigests(bench.digests.sha256).of(target.module, __name__)])
    known = _known(bench.build) if bench.reuse else {}
    rows = []
    with Child() as child:
        for artifact in readable.values():
            key = _key(bench, target, artifact, follows_from)
            rows.append(known[key] if key in known else _run(bench, target, artifact, key, child))
    return rows


def _key(bench: Bench, target: Target, artifact: Artifact, follows_from: str) -> str:
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


def _run(bench: Bench, target: Target, artifact: Artifact, key: str, child: Child) -> Row:
    bench.step(f"{artifact.format} on {target.name}")
    blank = _about(Row(artifact.format, target.name, "failed", ""), artifact, bench)
    work = bench.build / RUNS / target.name / artifact.format
    with explain_disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    job = Job(bench.build / artifact.format, bench.build / REFERENCE / PIXELS, work)
    log = work / "run.log"
    log.unlink(missing_ok=True)
    latencies: tuple[float, ...] = ()
    try:
        run = child.call(run_job, target.name, job, log=log, timeout_s=JOB_TIMEOUT_S)
        latencies = run.latencies_ms
        row = _judged(blank, run, artifact, read_answers(bench.build / REFERENCE, bench.reference.labels))
        row = _held_to_integers(row, run, artifact, bench)
    except Unsupported as error:
        row = replace(blank, outcome="not run", reason=str(error))
        # What is away may be back by the next time.
        key = "" if isinstance(error, Absent) else key
    except (EdgeError, ChildError) as error:
        row = replace(blank, reason=f"it did not run: {error}")
        # An accident may have passed by the next time: kept as a line, never taken again.
        key = ""
    tidy(work, log)
    _keep(bench.build, key, row, latencies)
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


def _judged(blank: Row, run: Run, artifact: Artifact, answers: Answers) -> Row:
    verdict = judge(run.scores, run.labels, artifact, answers.to(run.image_indices))
    # What a GPU made of software takes says nothing of any GPU.
    timed = bool(run.latencies_ms) and not run.environment.get("software_gpu")
    return replace(
        blank,
        outcome="passed" if verdict.passed else "failed",
        reason=verdict.reason,
        images=len(run.scores),
        top1_agreement=verdict.top1_agreement,
        accuracy=verdict.accuracy,
        max_difference=verdict.max_difference,
        mean_difference=verdict.mean_difference,
        latency_ms_median=statistics.median(run.latencies_ms) if timed else None,
        load_ms=run.load_ms,
        environment=dict(run.environment) | {"first_ms": run.first_ms},
    )


def _held_to_integers(row: Row, run: Run, artifact: Artifact, bench: Bench) -> Row:
    """Return a compiled artifact's row with the rule for integers applied too."""
    if run.stored is None or "parent_sha256" not in artifact.options:
        return row
    found = compare(run.stored, expected_integers(bench.build, artifact, bench.build / REFERENCE / PIXELS))
    row = replace(row, environment=row.environment | {"integer_steps": found.steps, "integer_other_classes": found.other_classes})
    if found.problem:
        others = "" if row.outcome == "passed" else f"{row.reason}; "
        return replace(row, outcome="failed", reason=f"{others}{found.problem}")
    return replace(row, reason=f"{row.reason}; every integer within {MOST_STEPS} step of its parent's")


def _about(row: Row, artifact: Artifact | None, bench: Bench) -> Row:
    row = replace(row, images=bench.reference.images, reference_accuracy=bench.reference.accuracy)
    if artifact is None:
        return row
    return replace(row, bytes=artifact.bytes, artifact_sha256=artifact.sha256, tolerance=asdict(artifact.tolerance))


def _settled(name: str, rows: list[Row], artifact: Artifact | None, bench: Bench) -> list[Row]:
    """Return an artifact's rows; where nothing here could run it, they say that it was not checked."""
    if artifact is None:
        return rows
    if not rows:
        return [
            _about(Row(name, "-", "not checked", f"no target that was asked for reads it{_who_reads(artifact)}"), artifact, bench)
        ]
    if all(row.outcome == "not run" for row in rows):
        return [
            replace(row, outcome="not checked", reason=f"it was written, but nothing here can run it: {row.reason}")
            for row in rows
        ]
    return rows


def _who_reads(artifact: Artifact) -> str:
    """Return in words what could be asked where nothing that is asked by default reads the artifact."""
    able = [target for target in targets().values() if target.takes(artifact) and target.judged]
    if any(target.by_default for target in able):
        return ""
    return "".join(f"; {target.name} does: {target.missing() or f'--target {target.name}'}" for target in able)


def _known(build: Path) -> dict[str, Row]:
    """Return the rows kept by key; a line that is cut short or of another schema is passed over."""
    rows = {}
    try:
        lines = (build / RESULTS).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    for line in lines:
        try:
            told: dict[str, Any] = json.loads(line)
            if told["schema"] == SCHEMA:
                rows[str(told["key"])] = Row(**told["row"])
        except (ValueError, KeyError, TypeError):
            continue
    return rows


def _keep(build: Path, key: str, row: Row, latencies: tuple[float, ...]) -> None:
    line = json.dumps({"schema": SCHEMA, "key": key, "row": asdict(row), "latencies_ms": latencies}, ensure_ascii=False)
    append_line(build / RESULTS, line)
