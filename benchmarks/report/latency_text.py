# SPDX-License-Identifier: Apache-2.0
"""Latencies as text: tables for the terminal, and the lines below them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.latency.costs.cost import Cost
from edgeferry.benchmarks.latency.costs.table import cost_columns, cost_text
from edgeferry.benchmarks.latency.ratio import interval_text, noise_text, speed_text
from edgeferry.benchmarks.latency.records import BaselineRatio, Case, Latencies
from edgeferry.benchmarks.latency.samples import percentile_text
from edgeferry.benchmarks.report.words import ABSENT
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# Rich takes a pipe for 80 columns wide; files and pagers have more room.
PIPED_WIDTH: Final = 120
COLUMNS: Final = ("format", "target", "median", "p90", "vs baseline", "95 % interval", "verdict", "grade")
NAMES: Final = ("format", "target", "verdict", "grade")
GRADES: Final = {"good": "green", "fair": "yellow", "poor": "bold red"}


def print_latency(found: Latencies, console: "Console") -> None:
    """Print what was measured: a table of latencies, a table of costs, then what a reader of them must know."""
    from rich.text import Text

    width = console.width if console.is_terminal else max(console.width, PIPED_WIDTH)
    table = _table(COLUMNS)
    for case in found.cases:
        if case.samples_ms:
            cells = [plain(cell) for cell in row_of(case, found)]
            table.add_row(*cells[:-1], Text(cells[-1], style=GRADES.get(cells[-1], "")))
    _print_table(table, console, width)
    for line in _print_costs([case for case in found.cases if case.samples_ms], console, width):
        console.print(Text(line), soft_wrap=not console.is_terminal)
    for line in latency_lines(found):
        console.print(Text(line), soft_wrap=not console.is_terminal)


def _print_costs(cases: Sequence[Case], console: "Console", width: int) -> Iterator[str]:
    """Print the costs that fit into the width as a table, and yield a line that names the others."""
    columns = cost_columns(cases)
    for count in range(len(columns), 0, -1):
        table = _costs_table(cases, columns[:count])
        if _natural_width(table, console, width) <= width:
            _print_table(table, console, width)
            break
    else:
        count = 0
    if count < len(columns):
        titles = ", ".join(cost.title for cost in columns[count:])
        yield f"also measured, in latency.json and the report: {titles}"


def _costs_table(cases: Sequence[Case], columns: Sequence[Cost]) -> "Table":
    table = _table(("format", "target", *(cost.title for cost in columns)))
    for case in cases:
        table.add_row(plain(case.format), plain(row_target(case)), *(plain(cost_text(cost, case)) for cost in columns))
    return table


def _table(columns: Sequence[str]) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), collapse_padding=True, pad_edge=False, show_edge=False)
    for name in columns:
        is_number = name not in NAMES
        table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    return table


def _natural_width(table: "Table", console: "Console", width: int) -> int:
    return int(console.measure(table, options=console.options.update(max_width=10 * width)).maximum)


def _print_table(table: "Table", console: "Console", width: int) -> None:
    table.width = min(width, _natural_width(table, console, width))
    console.print(table, soft_wrap=True)
    console.print()


def row_of(case: Case, found: Latencies) -> tuple[str, ...]:
    """Return a case's cells: format, target, median, p90, its speed vs the baseline, the interval, the verdict, the grade."""
    return (
        case.format,
        row_target(case),
        *(percentile(case, each) for each in (50, 90)),
        *against_baseline(case, found),
        graded(case),
    )


def row_target(case: Case) -> str:
    """Return a case's target as a table names it, with its threads where there are several."""
    return case.name.removeprefix(f"{case.format} on ")


def graded(case: Case) -> str:
    """Return a case's grade, or its state where it has none."""
    return case.grade or case.state


def percentile(case: Case, which: float) -> str:
    """Return a percentile of a case as text: a time, or how many samples it needs; of means there is only a median."""
    return ABSENT if case.calls > 1 and which != 50 else percentile_text(case.samples_ms, which)


def against_baseline(case: Case, found: Latencies) -> tuple[str, str, str]:
    """Return a case's speed vs the baseline, its interval and the verdict: ``66x faster``, ``[64x, 69x]``, ``faster``."""
    if case.name == found.baseline:
        return "baseline", "", ""
    against = baseline_ratio(case, found)
    if against is None:
        return ABSENT, "", ""
    return speed_text(against.ratio), interval_text(against.ratio), against.verdict


def baseline_ratio(case: Case, found: Latencies) -> BaselineRatio | None:
    """Return how a case compares with the baseline, or None where the two were not interleaved."""
    wanted = (case.format, case.target, case.threads)
    return next((each for each in found.compared if (each.format, each.target, each.threads) == wanted), None)


def latency_lines(found: Latencies) -> Iterator[str]:
    """Yield what a reader of the table must know: the noise floor, the warnings, and what was not measured."""
    if found.null is not None:
        yield f"baseline: {plain(found.baseline)}; noise floor (baseline vs itself): {noise_text(found.null)}"
        yield "ratios: CPU time for one thread on a CPU, wall clock otherwise; 95 % intervals; interleaved runs only"
    warned: dict[tuple[str, str], list[str]] = {}
    for case in found.cases:
        for warning in case.warnings:
            heading = "note" if warning.severity == "note" else "warning"
            warned.setdefault((heading, warning.text), []).append(case.name)
    for (heading, text), names in sorted(warned.items(), key=lambda each: each[0][0], reverse=True):
        yield f"{heading}: {_places(names, found)}: {plain(text)}"
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for case in found.cases:
        if case.state != "measured":
            reasons.setdefault((case.state, case.target, case.reason), []).append(case.format)
    for (state, target, reason), formats in sorted(reasons.items()):
        yield plain(f"{state}: {', '.join(formats)} on {target}: {reason}")
    states = [case.state for case in found.cases]
    yield f"{states.count('measured')} measured, {states.count('failed')} failed, {states.count('not run')} not run"


def _places(names: list[str], found: Latencies) -> str:
    measured = sum(case.state == "measured" for case in found.cases)
    if len(names) == measured:
        return "all"
    return plain(", ".join(names)) if len(names) <= 4 else f"{plain(', '.join(names[:3]))} and {len(names) - 3} more"
