# SPDX-License-Identifier: Apache-2.0
"""The rows of a report by format: the worst of what was seen of each, failures first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgeferry.benchmarks.parity.outcome import Outcome
from edgeferry.benchmarks.parity.rows import NO_TARGET, Row

# What needs attention comes first; what passed, last.
SEVERITY: Final[tuple[Outcome, ...]] = ("failed", "inconclusive", "not checked", "unsupported", "not run", "passed")
SHOWN: Final[tuple[Outcome, ...]] = ("failed", "inconclusive", "not checked", "passed", "unsupported", "not run")
OUTDATED: Final = "out of date"


@dataclass(frozen=True)
class FormatOverview:
    """A format and its rows; what is out of date counts nowhere."""

    format: str
    rows: tuple[Row, ...]

    @property
    def current(self) -> tuple[Row, ...]:
        """Return the rows that still hold."""
        return tuple(row for row in self.rows if not row.outdated)

    @property
    def outcome(self) -> Outcome:
        """Return the worst outcome; where it passed somewhere, what was not run or is unsupported elsewhere is not counted."""
        outcomes = {row.outcome for row in self.current}
        bad = [each for each in SEVERITY[:3] if each in outcomes]
        if bad:
            return bad[0]
        return "passed" if "passed" in outcomes else next((each for each in SEVERITY if each in outcomes), "not checked")

    @property
    def bytes(self) -> int | None:
        """Return the size of its files."""
        return next((row.bytes for row in self.rows if row.bytes is not None), None)

    @property
    def latency_ms(self) -> float | None:
        """Return the smallest median latency."""
        return min((row.latency_ms_median for row in self.current if row.latency_ms_median is not None), default=None)

    def worst(self, metric: str) -> float | None:
        """Return the smallest value of a metric of which more is better, of the results on the most images.

        A software-rendered GPU runs a few images, which show less.
        """
        most = max((row.verdict.images or 0 for row in self.current), default=0)
        values = [row.metric(metric) for row in self.current if (row.verdict.images or 0) == most]
        return min((value for value in values if value is not None), default=None)

    def targets(self) -> dict[str, list[str]]:
        """Return the targets by outcome: what needs attention, what passed, the rest."""
        found: dict[str, list[str]] = {
            outcome: [row.target for row in self.current if row.outcome == outcome] for outcome in SHOWN
        }
        found[OUTDATED] = [row.target for row in self.rows if row.outdated]
        return {outcome: [each for each in names if each != NO_TARGET] for outcome, names in found.items() if names}


def overviews(rows: Sequence[Row]) -> list[FormatOverview]:
    """Return the formats of a report, those first that need attention."""
    found = [
        FormatOverview(form, tuple(row for row in rows if row.format == form))
        for form in dict.fromkeys(row.format for row in rows)
    ]
    return sorted(found, key=lambda each: SHOWN.index(each.outcome))
