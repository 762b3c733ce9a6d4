# SPDX-License-Identifier: Apache-2.0
"""The report as a table for the terminal, as wide as the terminal is."""

import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Final, NamedTuple

from edgeferry.benchmarks.parity.judging.metric import Metric, metrics
from edgeferry.benchmarks.parity.outcome import Outcome
from edgeferry.benchmarks.parity.rows import NO_TARGET, Report, Row
from edgeferry.benchmarks.report.latency_text import PIPED_WIDTH
from edgeferry.benchmarks.report.shipping.recommendation import recommendations
from edgeferry.benchmarks.report.shipping.terminal import format_table, shipping_notes, shipping_table
from edgeferry.benchmarks.report.summary import Finding, findings, notes, summary
from edgeferry.benchmarks.report.words import ABSENT, milliseconds, size
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from rich.console import Console, JustifyMethod
    from rich.table import Table
    from rich.text import Text

STYLES: Final[Mapping[str, str]] = {
    "passed": "green",
    "failed": "bold red",
    "inconclusive": "magenta",
    "unsupported": "yellow",
    "not run": "yellow",
    "not checked": "cyan",
}

NOT_RUN: Final[Outcome] = "not run"


class _Column(NamedTuple):
    """A column of numbers: its heading, a shorter one where a terminal is narrow, a row's text."""

    title: str
    short: str
    text: Callable[[Row], str]


class _Layout(NamedTuple):
    """How a table is laid out: how many metrics it shows, and how wide it is.

    A wide table has whole headings, a flat one a line for every row; otherwise targets are indented below their format, which
    takes one column of names instead of two.
    """

    metrics: int
    is_wide: bool
    is_flat: bool


def print_table(report: Report, console: "Console", *, every_row: bool = False) -> None:
    """Print what to ship, a table, the reason of every row that did not pass, and one line that sums up.

    On a terminal the table has a line for every format, and what was not run is counted, unless ``every_row`` asks for a line for
    every row. What is piped has that always, as grep needs it.
    """
    width = console.width if console.is_terminal else max(console.width, PIPED_WIDTH)
    in_short = console.is_terminal and not every_row
    _print_shipping(report, console, width, everything=not in_short)
    table, left_out = (format_table(report.rows, STYLES), []) if in_short else _table(report.rows, console, width)
    console.print(_narrowed(table, console, width), soft_wrap=True)
    console.print()
    if left_out:
        console.print(
            _line(f"Left out at {width} columns: {', '.join(left_out)}; report.html has all.", console, width), soft_wrap=True
        )
    for note in notes(report):
        console.print(_line(note, console, width), soft_wrap=True)
    listed = findings(report.rows)
    for found in (each for each in listed if not (in_short and each.outcome == NOT_RUN)):
        console.print(_reason(found, console, width), soft_wrap=True)
    if in_short and any(each.outcome == NOT_RUN for each in listed):
        console.print(_line(f"{NOT_RUN}: --all lists what, why, and how to get it.", console, width), soft_wrap=True)
    for each in report.unmet:
        console.print(_line(f"not met: {plain(each)}", console, width), style="bold red", soft_wrap=True)
    console.print(_line(summary(report), console, width), soft_wrap=True)


def _print_shipping(report: Report, console: "Console", width: int, *, everything: bool) -> None:
    if found := recommendations(report):
        console.print(_narrowed(shipping_table(found), console, width), soft_wrap=True)
        for note in shipping_notes(report, everything=everything):
            console.print(_line(note, console, width), soft_wrap=True)
        console.print()


def _narrowed(table: "Table", console: "Console", width: int) -> "Table":
    natural = console.measure(table, options=console.options.update(max_width=10 * width)).maximum
    table.width = min(natural, width)
    return table


def _line(line: str, console: "Console", width: int) -> "Text":
    """Return a line broken at words for a terminal; in a pipe it stays whole."""
    from rich.text import Text

    room = width if console.is_terminal else len(line) + 1
    return Text(textwrap.fill(line, room, subsequent_indent="    ", break_on_hyphens=False))


def _reason(found: Finding, console: "Console", width: int) -> "Text":
    text = _line(f"{found.outcome}: {found.where}: {found.sentence}", console, width)
    text.stylize(STYLES[found.outcome], 0, len(found.outcome))
    return text


def _layouts(every: int, *, is_terminal: bool) -> Iterator[_Layout]:
    """Yield the layouts to try, the widest first; what is piped always has a line for every row, as grep needs it."""
    yield _Layout(every, is_wide=True, is_flat=True)
    yield _Layout(every, is_wide=False, is_flat=True)
    yield from (_Layout(count, is_wide=False, is_flat=not is_terminal) for count in range(every, 0, -1))


def _table(rows: Sequence[Row], console: "Console", width: int) -> tuple["Table", list[str]]:
    """Return the first layout that fits as a table, and the metrics that it leaves out; the first metric always stays."""
    every = _in_terminal()
    for layout in _layouts(len(every), is_terminal=console.is_terminal):
        headings, lines = _cells(rows, layout)
        natural = _natural_width(headings, lines, layout)
        if natural <= width:
            break
    table = _filled(headings, lines, layout)
    table.width = min(natural, width)
    return table, [metric.title for metric in every[layout.metrics :]]


def _natural_width(headings: Sequence[str], lines: "Sequence[Sequence[Text]]", layout: _Layout) -> int:
    """Return the width of a table in which nothing is broken; rich measures every cell again for every layout."""
    from rich.cells import cell_len

    longest = [max(map(cell_len, heading.splitlines())) for heading in headings]
    for line in lines:
        longest[: len(line)] = [max(known, cell.cell_len) for known, cell in zip(longest, line, strict=False)]
    between = 2 if layout.is_wide else 1
    return sum(longest) + between * (len(headings) - 1)


def _columns(shown: Iterable[Metric]) -> list[_Column]:
    """Return the columns of numbers but for the size, with those metrics."""
    return [
        *(_Column(metric.title, metric.short, partial(_value, metric)) for metric in shown),
        _Column("images", "n", lambda row: ABSENT if row.verdict.images is None else str(row.verdict.images)),
        _Column("latency", "latency", lambda row: milliseconds(row.latency_ms_median)),
    ]


def _in_terminal() -> list[Metric]:
    return [metric for metric in metrics().values() if not metric.is_detail]


def _value(metric: Metric, row: Row) -> str:
    return metric.text(row.metric(metric.name))


def _cells(rows: Sequence[Row], layout: _Layout) -> "tuple[list[str], list[list[Text]]]":
    """Return the headings and the lines of a layout."""
    columns = _columns(_in_terminal()[: layout.metrics])
    names = ("format", "size", "target") if layout.is_flat else ("format\n  target", "size")
    numbers = [column.title if layout.is_wide else column.short for column in columns]
    return [*names, *numbers, "verdict"], list(_flat(rows, columns) if layout.is_flat else _nested(rows, columns))


def _filled(headings: Sequence[str], lines: "Sequence[Sequence[Text]]", layout: _Layout) -> "Table":
    from rich import box
    from rich.table import Table

    padding = (0, int(layout.is_wide), 0, 0)
    table = Table(box=box.SIMPLE_HEAD, padding=padding, collapse_padding=True, pad_edge=False, show_edge=False)
    for heading in headings:
        is_name = heading.startswith(("format", "target"))
        justify: JustifyMethod = "left" if is_name or heading == headings[-1] else "right"
        table.add_column(heading, justify=justify, no_wrap=not is_name, overflow="fold")
    for line in lines:
        table.add_row(*line)
    return table


def _flat(rows: Iterable[Row], columns: Sequence[_Column]) -> "Iterator[list[Text]]":
    """Yield the cells of a line for every row."""
    from rich.text import Text

    for row in rows:
        yield [Text(plain(row.format)), Text(size(row.bytes)), Text(plain(row.target)), *_numbers(row, columns)]


def _nested(rows: Iterable[Row], columns: Sequence[_Column]) -> "Iterator[list[Text]]":
    """Yield the cells of a line for every format, with the row of one that ran nowhere, and a line for every other row."""
    from rich.text import Text

    for name, group in groupby(rows, key=lambda row: (row.format, row.bytes)):
        ours = list(group)
        own = [_numbers(row, columns) for row in ours if row.target == NO_TARGET]
        yield [Text(plain(name[0])), Text(size(name[1])), *(own[0] if own else [])]
        yield from (
            [Text(f"  {plain(row.target)}"), Text(""), *_numbers(row, columns)] for row in ours if row.target != NO_TARGET
        )


def _numbers(row: Row, columns: Iterable[_Column]) -> "list[Text]":
    from rich.text import Text

    return [*(Text(column.text(row)) for column in columns), _outcome(row)]


def _outcome(row: Row) -> "Text":
    from rich.text import Text

    return Text("out of date", style="dim") if row.outdated else Text(row.outcome, style=STYLES[row.outcome])
