# SPDX-License-Identifier: Apache-2.0
"""Latencies in words: a table for the terminal, and the lines that stand below it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.latency.percentiles import percentile_told
from edgeferry.benchmarks.latency.records import Case, Compared, Latencies
from edgeferry.benchmarks.report.words import ABSENT
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from rich.console import Console

# Rich takes a pipe for 80 columns wide; files and pagers have more room.
PIPED_WIDTH: Final = 120
COLUMNS: Final = ("format", "target", "median", "p90", "to baseline", "", "verdict", "grade")
GRADES: Final = {"good": "green", "fair": "yellow", "poor": "bold red"}


def print_latency(found: Latencies, console: "Console") -> None:
    """Print what was measured as a table, then what a reader of it must know."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    width = console.width if console.is_terminal else max(console.width, PIPED_WIDTH)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), collapse_padding=True, pad_edge=False, show_edge=False)
    for name in COLUMNS:
        is_number = name in {"median", "p90", "to baseline", ""}
        table.add_column(name, justify="right" if is_number else "left", no_wrap=is_number, overflow="fold")
    for case in found.cases:
        if case.samples_ms:
            cells = [plain(cell) for cell in row_of(case, found)]
            table.add_row(*cells[:-1], Text(cells[-1], style=GRADES.get(cells[-1], "")))
    table.width = min(width, console.measure(table, options=console.options.update(max_width=10 * width)).maximum)
    console.print(table, soft_wrap=True)
    console.print()
    for line in latency_lines(found):
        console.print(Text(line), soft_wrap=not console.is_terminal)


def row_of(case: Case, found: Latencies) -> tuple[str, ...]:
    """Return a case's cells: format, target, median, p90, its ratio to the baseline, the interval, the verdict, the grade."""
    return (
        case.format,
        row_target(case),
        *(percentile(case, each) for each in (50, 90)),
        *against_baseline(case, found),
        graded(case),
    )


def row_target(case: Case) -> str:
    """Return a case's target as a table names it, with its threads where they are several."""
    return case.name.removeprefix(f"{case.format} on ")


def graded(case: Case) -> str:
    """Return a case's grade, or what became of it instead."""
    return case.grade or case.state


def percentile(case: Case, which: float) -> str:
    """Return a percentile of a case in words: a time, or how many samples it lacks; of means there is only a median."""
    return ABSENT if case.calls > 1 and which != 50 else percentile_told(case.samples_ms, which)


def against_baseline(case: Case, found: Latencies) -> tuple[str, str, str]:
    """Return a case's ratio to the baseline, its interval and the verdict, in words."""
    if case.name == found.baseline:
        return "baseline", "", ""
    against = ratio_of(case, found)
    if against is None:
        return ABSENT, "", ""
    return f"{against.ratio.ratio:.3g}", f"[{against.ratio.low:.3g}, {against.ratio.high:.3g}]", against.verdict


def ratio_of(case: Case, found: Latencies) -> Compared | None:
    """Return how a case compares with the baseline, or None where it was not timed in turns with it."""
    wanted = (case.format, case.target, case.threads)
    return next((each for each in found.compared if (each.format, each.target, each.threads) == wanted), None)


def latency_lines(found: Latencies) -> Iterator[str]:
    """Yield what a reader of the table must know: the null comparison, what was doubtful, and what was not measured."""
    if found.null is not None:
        reach = 100 * (found.null.reach - 1)
        interval = f"{found.null.ratio:.3f} [{found.null.low:.3f}, {found.null.high:.3f}]"
        yield f"baseline: {plain(found.baseline)}; beside itself {interval}: less than {reach:.1f} % is not claimed"
        yield "ratios: of CPU time on one thread of a CPU, else of the wall's; 95 % intervals; only of what ran in turns"
    notices: dict[tuple[str, str], list[str]] = {}
    for case in found.cases:
        for notice in case.warnings:
            notices.setdefault((notice.what, notice.advice), []).append(case.name)
    for (what, advice), where in notices.items():
        yield f"note: {_places(where, found)}: {what}; {advice}"
    reasons: dict[tuple[str, str, str], list[str]] = {}
    for case in found.cases:
        if case.state != "measured":
            reasons.setdefault((case.state, case.target, case.reason), []).append(case.format)
    for (state, target, reason), formats in sorted(reasons.items()):
        yield plain(f"{state}: {', '.join(formats)} on {target}: {reason}")
    states = [case.state for case in found.cases]
    yield f"{states.count('measured')} measured, {states.count('failed')} failed, {states.count('not run')} not run"


def _places(where: list[str], found: Latencies) -> str:
    measured = sum(case.state == "measured" for case in found.cases)
    if len(where) == measured:
        return "everywhere"
    return plain(", ".join(where)) if len(where) <= 4 else f"{plain(', '.join(where[:3]))} and {len(where) - 3} more"
