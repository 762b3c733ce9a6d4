# SPDX-License-Identifier: Apache-2.0
"""Results of earlier runs that this one did not repeat: they stay in the report, each with its date and whether it is valid."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from edgeferry.benchmarks.parity.bench import Bench, fit_to_run, key_of, target_digest
from edgeferry.benchmarks.parity.outcome import Outcome
from edgeferry.benchmarks.parity.results import known_rows
from edgeferry.benchmarks.parity.rows import Report, Row
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.registry import did_you_mean
from edgeferry.targets.target import targets

# Results of a run; the others say only what this machine has.
MEASURED: Final[frozenset[Outcome]] = frozenset({"passed", "failed", "inconclusive", "unsupported"})


def earlier_rows(bench: Bench, previous: Report | None, rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows of the previous report that a run did not repeat; those that are no longer valid say why."""
    if previous is None:
        return
    repeated = {(row.format, row.target) for row in rows}
    left = [row for row in previous.rows if row.outcome in MEASURED and row.artifact_sha256]
    left = [row for row in left if (row.format, row.target) not in repeated and (bench.build / row.format).is_dir()]
    known, code = known_rows(bench.build) if left else {}, CodeDigests(bench.digests.sha256)
    for row in left:
        yield replace(row, earlier=True, outdated=_outdated(bench, row, known, code))


def _outdated(bench: Bench, row: Row, known: dict[str, Row], code: CodeDigests) -> str:
    """Return why a result no longer holds, or nothing."""
    artifact, problem = fit_to_run(bench, row.format)
    if artifact is None or problem is not None:
        return str(problem)
    if artifact.sha256 != row.artifact_sha256:
        return "the artifact was exported again since"
    target = targets().get(row.target)
    if target is None:
        return f"there is no target {row.target!r}{did_you_mean(row.target, targets())}"
    if key_of(bench, target, artifact, target_digest(target, code)) not in known:
        return "the reference, the runtime or the code that checks it changed since"
    return ""
