# SPDX-License-Identifier: Apache-2.0
"""The report in a terminal in short: what to ship, and a line for every format with its targets."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.rows import Report, Row
from edgeferry.benchmarks.report.overview import FormatOverview, overviews
from edgeferry.benchmarks.report.shipping.recommendation import Recommendation, partial, recommendations
from edgeferry.benchmarks.report.words import ABSENT, milliseconds, percent, size
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

NUMBERS: Final = ("size", "agree at\nleast", "accu-\nracy", "latency")
# Targets of these outcomes are named; of the others the number is enough.
NOT_RUN: Final = "not run"
NAMED: Final = ("failed", "inconclusive", "not checked", "passed")


def shipping_table(found: Sequence[Recommendation]) -> "Table":
    """Return a table of what to ship to each kind of place."""
    table = _table("ship to", "artifact", *NUMBERS, "measured on")
    for each in found:
        name = each.place.name
        for word, row in each.picks:
            where = plain(row.target) if each.seen_there(row) else f"{plain(row.target)}, a stand-in"
            table.add_row(name if word.startswith("smallest") else "  fastest", plain(row.format), *_measured(row), where)
        if not each.picks:
            table.add_row(name, "nothing yet")
    return table


def _measured(row: Row) -> list[str]:
    shown, right = row.metric("agreement_shown"), row.metric("accuracy")
    return [size(row.bytes), percent(shown), percent(right), milliseconds(row.latency_ms_median)]


def shipping_notes(report: Report, *, everything: bool) -> Iterator[str]:
    """Yield what a reader of that table must know; ``everything`` adds why each other format is not it."""
    for each in recommendations(report):
        if not each.picks:
            yield f"{each.place.name}: nothing yet: {'; '.join(f'{plain(form)} {why}' for form, why in each.lost.items())}"
        elif everything and each.lost:
            yield f"{each.place.name}: not {'; not '.join(f'{plain(form)}: {why}' for form, why in each.lost.items())}"
    if missing := partial(report):
        yield missing


def format_table(rows: Sequence[Row], styles: Mapping[str, str]) -> "Table":
    """Return a table with a line for every format, those first that need attention."""
    from rich.text import Text

    table = _table("format", *NUMBERS, "targets")
    for each in overviews(rows):
        table.add_row(Text(plain(each.format), style=styles.get(each.outcome, "")), *_numbers(each), _targets(each, styles))
    return table


def _table(*names: str) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=0, collapse_padding=True, pad_edge=False, show_edge=False)
    for name in names[:-1]:
        table.add_column(name, justify="right" if name in NUMBERS else "left", no_wrap=True, overflow="fold")
    table.add_column(names[-1], overflow="fold")
    return table


def _numbers(each: FormatOverview) -> list[str]:
    return [
        size(each.bytes),
        percent(each.worst("agreement_shown")),
        percent(each.worst("accuracy")),
        milliseconds(each.latency_ms),
    ]


def _targets(each: FormatOverview, styles: Mapping[str, str]) -> "Text":
    from rich.text import Text

    text = Text()
    found = each.targets()
    for outcome, names in found.items():
        # Where it was checked, the last line's count of what was not run is enough.
        if outcome == NOT_RUN and len(found) > 1:
            continue
        if text:
            text.append("; ")
        text.append(outcome, style=styles.get(outcome, "dim"))
        if names:
            text.append(f" {_shortened(names)}" if outcome in NAMED else f" on {len(names)}")
    return text or Text(ABSENT)


def _shortened(names: Sequence[str]) -> str:
    """Return names of targets, those that begin with the same word counted: 'chromium (2), litert'."""
    counts = Counter(name.partition("-")[0] for name in names)
    first = {name.partition("-")[0]: name for name in reversed(names)}
    return ", ".join(plain(first[word]) if count == 1 else f"{plain(word)} ({count})" for word, count in counts.items())
