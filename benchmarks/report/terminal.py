# SPDX-License-Identifier: Apache-2.0
"""The report as a table for the terminal, as wide as the terminal is."""

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.metric import Metric, metrics
from edgeferry.benchmarks.parity.outcome import Outcome
from edgeferry.benchmarks.parity.rows import Report, Row
from edgeferry.benchmarks.report.latency_text import PIPED_WIDTH
from edgeferry.benchmarks.report.summary import Finding, findings, notes, summary
from edgeferry.benchmarks.report.words import ABSENT, milliseconds, size
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

STYLES: Final[Mapping[Outcome, str]] = {
    "passed": "green",
    "failed": "bold red",
    "inconclusive": "magenta",
    "unsupported": "yellow",
    "not run": "yellow",
    "not checked": "cyan",
}


@dataclass(frozen=True)
class _Column:
    """A column: its heading, a shorter one, a row's text; where it is a metric's, its place among the metrics."""

    title: str
    short: str
    text: Callable[[Row], str]
    is_name: bool = False
    metric: int | None = None


def print_table(report: Report, console: "Console") -> None:
    """Print the table, the reason of every row that did not pass, and one line that sums up."""
    width = console.width if console.is_terminal else max(console.width, PIPED_WIDTH)
    table, left_out = _table(report.rows, console, width)
    console.print(table, soft_wrap=True)
    console.print()
    if left_out:
        console.print(
            _line(f"Left out at {width} columns: {', '.join(left_out)}; report.html has all.", console, width), soft_wrap=True
        )
    for note in notes(report):
        console.print(_line(note, console, width), soft_wrap=True)
    for found in findings(report.rows):
        console.print(_reason(found, console, width), soft_wrap=True)
    console.print(_line(summary(report), console, width), soft_wrap=True)


def _line(line: str, console: "Console", width: int) -> "Text":
    """Return a line broken at words for a terminal; in a pipe it stays whole."""
    from rich.text import Text

    room = width if console.is_terminal else len(line) + 1
    return Text(textwrap.fill(line, room, subsequent_indent="    ", break_on_hyphens=False))


def _reason(found: Finding, console: "Console", width: int) -> "Text":
    text = _line(f"{found.outcome}: {found.where}: {found.sentence}", console, width)
    text.stylize(STYLES[found.outcome], 0, len(found.outcome))
    return text


def _columns(names: Sequence[Metric]) -> Iterator[_Column]:
    """Yield the columns with those metrics."""
    yield _Column("format", "format", lambda row: plain(row.format), is_name=True)
    yield _Column("size", "size", lambda row: size(row.bytes))
    yield _Column("target", "target", lambda row: plain(row.target), is_name=True)
    for place, metric in enumerate(names):
        yield _Column(metric.title, metric.short, lambda row, it=metric: it.text(row.metric(it.name)), metric=place)  # type: ignore[misc] # a bound loop variable
    yield _Column("images", "n", lambda row: ABSENT if row.verdict.images is None else str(row.verdict.images))
    yield _Column("latency", "latency", lambda row: milliseconds(row.latency_ms_median))


def _table(rows: Sequence[Row], console: "Console", width: int) -> tuple["Table", list[str]]:
    """Return the widest table that fits, and the metrics that it leaves out.

    Whole headings are tried first, then short ones, then short ones without the last metrics; the first metric always stays.
    """
    every = list(metrics().values())
    layouts = [(len(every), False), *((count, True) for count in range(len(every), 0, -1))]
    for count, is_narrow in layouts:
        table = _filled(rows, list(_columns(every[:count])), is_narrow=is_narrow)
        natural = console.measure(table, options=console.options.update(max_width=10 * width)).maximum
        table.width = min(natural, width)
        if natural <= width:
            break
    return table, [metric.title for metric in every[count:]]


def _filled(rows: Sequence[Row], columns: Sequence[_Column], *, is_narrow: bool) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    padding = 0 if is_narrow else 1
    table = Table(box=box.SIMPLE_HEAD, padding=(0, padding, 0, 0), collapse_padding=True, pad_edge=False, show_edge=False)
    for column in columns:
        justify = "left" if column.is_name else "right"
        heading = column.short if is_narrow else column.title
        table.add_column(heading, justify=justify, no_wrap=not column.is_name, overflow="fold")  # type: ignore[arg-type]
    table.add_column("verdict", no_wrap=True, overflow="fold")
    for row in rows:
        table.add_row(*(Text(column.text(row)) for column in columns), Text(row.outcome, style=STYLES[row.outcome]))
    return table
