# SPDX-License-Identifier: Apache-2.0
"""A report's rows as a CI system knows them: tests that passed, failed or were skipped, each with its reason."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from edgeferry.benchmarks.parity.outcome import Outcome
from edgeferry.benchmarks.parity.required import falling_short
from edgeferry.benchmarks.parity.rows import Report, Row
from edgeferry.models.system.text import plain

CaseState = Literal["passed", "failed", "skipped"]
# Where a requirement has no row at all, so no target either.
REQUIRED: Final = "required"


@dataclass(frozen=True)
class Case:
    """A test of a format on a target. ``is_required`` where it failed because it has to pass and did not.

    ``outcome``, ``reason`` and ``seconds`` are the row's, ``code`` that of the error that is the reason, None if there is none.
    """

    format: str
    target: str
    state: CaseState
    outcome: Outcome
    reason: str
    code: str | None = None
    is_required: bool = False
    seconds: float = 0.0

    @property
    def message(self) -> str:
        """Return the outcome, the reason and its code as one line that no program acts on."""
        required = "required to pass: " if self.is_required else ""
        return f"{required}{self.outcome}: {self.reason or 'no reason given'}{f' [{self.code}]' if self.code else ''}"


def cases_of(report: Report) -> list[Case]:
    """Return a case for every row, and one for every requirement that no row is for."""
    short = [(each, falling_short(report.rows, each)) for each in report.required]
    missed = {id(row) for _, rows in short for row in rows or ()}
    return [*(_case(row, is_missed=id(row) in missed) for row in report.rows), *_without_row(short)]


def _case(row: Row, *, is_missed: bool) -> Case:
    state: CaseState = "failed" if is_missed or row.outcome == "failed" else "passed" if row.outcome == "passed" else "skipped"
    reason = row.reason
    if row.outdated:
        state, reason = "skipped", f"out of date, not counted: {row.outdated}"
    code = row.verdict.code and plain(row.verdict.code)
    is_required = is_missed and row.outcome != "failed"
    return Case(plain(row.format), plain(row.target), state, row.outcome, plain(reason), code, is_required, row.seconds or 0.0)


def _without_row(short: list[tuple[str, tuple[Row, ...] | None]]) -> Iterator[Case]:
    for each, rows in short:
        if rows == ():
            yield Case(plain(each), REQUIRED, "failed", "not checked", "there is no result for it", is_required=True)
