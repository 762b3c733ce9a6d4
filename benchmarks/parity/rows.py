# SPDX-License-Identifier: Apache-2.0
"""What was found: one row for every artifact on every target, and the exit status they add up to."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

# History: 1, the first. Its JSON Schema is report.schema.json.
SCHEMA: Final = 1

Outcome = Literal["passed", "failed", "not run", "not checked"]


@dataclass(frozen=True)
class Row:
    """One artifact on one target.

    ``passed`` and ``failed`` were measured; ``not run`` means that this format or target is not to be had here; ``not
    checked`` that the artifact was written, but nothing here can say whether it is right. Sizes are in bytes, times in
    milliseconds; ``None`` is what was not measured. ``target`` is '-' for a format that was not written.
    """

    format: str
    target: str
    outcome: Outcome
    reason: str
    images: int | None = None
    top1_agreement: float | None = None
    accuracy: float | None = None
    reference_accuracy: float | None = None
    max_difference: float | None = None
    mean_difference: float | None = None
    tolerance: dict[str, Any] | None = None
    bytes: int | None = None
    artifact_sha256: str | None = None
    latency_ms_median: float | None = None
    load_ms: float | None = None
    environment: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All rows of one model, and what they were held to; ``asked`` names the targets where not all were asked."""

    model: str
    source_sha256: str
    images: int
    reference_accuracy: float
    rows: tuple[Row, ...]
    machine: dict[str, Any]
    tool_versions: dict[str, str]
    created: str
    asked: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Return what report.json holds."""
        return {"schema": SCHEMA, **asdict(self)}


def exit_status(rows: Sequence[Row]) -> int:
    """Return 0 where parity held, 1 where it did not, 2 where nothing was checked."""
    outcomes = {row.outcome for row in rows}
    if "failed" in outcomes:
        return 1
    return 0 if "passed" in outcomes else 2
