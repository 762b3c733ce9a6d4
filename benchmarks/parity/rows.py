# SPDX-License-Identifier: Apache-2.0
"""What was found: one row for every artifact on every target, and the exit status they add up to."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from typing import Any, Final

from edgeferry.benchmarks.parity.outcome import Outcome, Verdict
from edgeferry.models.artifact import Tolerance

# History: 1, the first; 2 puts a row's outcome, reason, error code, images and metrics into its verdict, metrics by name, adds
# the outcomes inconclusive and unsupported, and calls the targets that were requested "targets"; 3 adds a verdict's probes and
# flips, a row's date and whether it is out of date, labels and what is required. Its schema: report.schema.json.
SCHEMA: Final = 3
REPORT: Final = "report.json"
# Where an artifact ran, for a row of one that ran nowhere.
NO_TARGET: Final = "-"


@dataclass(frozen=True)
class Row:
    """One artifact on one target.

    Sizes are in bytes, times in milliseconds; ``None`` is what was not measured. ``reference_accuracy`` is the Keras model's on
    all golden images, None where they have no labels. ``target`` is '-' where the artifact ran nowhere. ``checked`` is when it
    ran, with the offset from UTC, and ``seconds`` how long running and judging it took, other jobs beside it; ``outdated`` says
    why a result of an earlier run is no longer valid, empty where it is. A row is ``earlier`` where the run that made the
    report did not repeat it.
    """

    format: str
    target: str
    verdict: Verdict
    reference_accuracy: float | None = None
    tolerance: Tolerance | None = None
    bytes: int | None = None
    artifact_sha256: str | None = None
    latency_ms_median: float | None = None
    load_ms: float | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    checked: str = ""
    seconds: float | None = None
    outdated: str = ""
    earlier: bool = False

    @property
    def outcome(self) -> Outcome:
        """Return the verdict's outcome."""
        return self.verdict.outcome

    @property
    def reason(self) -> str:
        """Return the verdict's reason."""
        return self.verdict.reason

    def metric(self, name: str) -> float | None:
        """Return the value of a metric, None where it was not computed."""
        return self.verdict.metrics.get(name)


@dataclass(frozen=True)
class Report:
    """All rows of one model, and what they were compared with.

    ``targets`` and ``formats`` name those requested, where not all were; ``required`` what has to pass, and ``unmet`` says what
    of it did not. ``reference_accuracy`` is None where the golden images have no labels.
    """

    model: str
    source_sha256: str
    images: int
    reference_accuracy: float | None
    rows: tuple[Row, ...]
    machine: dict[str, Any]
    tool_versions: dict[str, str]
    created: str
    targets: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    unmet: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what report.json holds."""
        return {"schema": SCHEMA, **asdict(self)}


def cleaned(value: Any) -> Any:
    """Return a value, a record or any part of one, as JSON can hold it.

    NaN and infinity become None, a character that is not Unicode (half a surrogate pair, from a file's name) becomes '?'.
    """
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return value.encode(errors="replace").decode()
    if isinstance(value, Mapping):
        return {cleaned(key): cleaned(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(cleaned(each) for each in value)
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{each.name: cleaned(getattr(value, each.name)) for each in fields(value)})
    return value


def exit_status(rows: Sequence[Row], unmet: Sequence[str] = ()) -> int:
    """Return 0 where parity held, 1 where it did not or a requirement is unmet, 2 where nothing was checked.

    Results that are out of date do not count; those of an earlier run count where they failed, but check nothing.
    """
    if unmet or any(row.outcome == "failed" and not row.outdated for row in rows):
        return 1
    return 0 if any(row.outcome == "passed" and not row.earlier for row in rows) else 2
