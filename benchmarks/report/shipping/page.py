# SPDX-License-Identifier: Apache-2.0
"""What the page says first: what to ship to each kind of place, and a matrix of formats and targets."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from edgeferry.benchmarks.parity.rows import NO_TARGET, Report, Row
from edgeferry.benchmarks.report.overview import overviews
from edgeferry.benchmarks.report.shipping.recommendation import Recommendation, partial, recommendations
from edgeferry.benchmarks.report.words import ABSENT, milliseconds, percent, size

HEADINGS: Final = ("ship to", "artifact", "size", "agree at least", "accuracy", "latency", "measured on", "why not")
TEXTS: Final = (0, 1, 6, 7)


def shipping_section(report: Report) -> dict[str, Any] | None:
    """Return the table of recommendations as the page's macro takes it, and its note; None where there is nothing to ship."""
    found = recommendations(report)
    if not found:
        return None
    cases = [case for each in found for case in _cases(each)]
    table = {"label": "What to ship to each kind of place", "headings": HEADINGS, "texts": TEXTS, "cases": cases}
    return {"table": table, "note": partial(report)}


def _cases(found: Recommendation) -> Iterator[dict[str, Any]]:
    lost = [f"{form}: {why}" for form, why in found.lost.items()]
    for word, row in found.picks:
        is_first = word.startswith("smallest")
        name = found.place.name if is_first else f"{found.place.name}, fastest"
        there = row.target if found.seen_there(row) else f"{row.target}, a stand-in"
        yield _case([name, row.format, *_numbers(row), there], lost if is_first else [])
    if not found.picks:
        yield _case([found.place.name, "nothing yet", *[ABSENT] * 5], lost)


def _numbers(row: Row) -> list[str]:
    shown, right = row.metric("agreement_shown"), row.metric("accuracy")
    return [size(row.bytes), percent(shown), percent(right), milliseconds(row.latency_ms_median)]


def _case(texts: Sequence[str], lost: Sequence[str]) -> dict[str, Any]:
    shown = [*texts, f"{len(lost)} others" if len(lost) > 1 else "1 other" if lost else ""]
    cells = [{"label": label, "text": text, "value": text} for label, text in zip(HEADINGS, shown, strict=True)]
    return {"cells": cells, "grade": "", "warnings": lost}


def matrix(report: Report) -> dict[str, Any]:
    """Return formats and the targets on which anything was checked, and the row of each pair that has one."""
    seen = [row.target for row in report.rows if row.target != NO_TARGET and row.outcome != "not run"]
    targets = sorted(set(seen))
    lines = [
        (each.format, each.outcome, [next((row for row in each.rows if row.target == target), None) for target in targets])
        for each in overviews(report.rows)
    ]
    return {"targets": targets, "lines": lines}


def sorted_rows(report: Report) -> tuple[Row, ...]:
    """Return the rows by format, those formats first that need attention."""
    return tuple(row for each in overviews(report.rows) for row in each.rows)
