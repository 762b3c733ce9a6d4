# SPDX-License-Identifier: Apache-2.0
"""The report: a table for the terminal, and report.json, report.md and report.html for everybody else."""

import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, get_args, get_origin

from edgeferry.benchmarks.parity.rows import SCHEMA, Outcome, Report, Row, exit_status
from edgeferry.benchmarks.report.latency_page import latency_markdown, latency_section
from edgeferry.benchmarks.report.latency_text import PIPED_WIDTH
from edgeferry.benchmarks.report.words import ABSENT, difference, escaped, milliseconds, percent, plain, size
from edgeferry.models.system.files import read_record, write_json, write_whole

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

REPORT: Final = "report.json"
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)
VERDICTS: Final = ("parity held", "parity did not hold", "nothing was checked")
# What the reasons are sorted and headed by: what needs somebody's attention first.
HEADINGS: Final[dict[Outcome, str]] = {
    "failed": "Failed, and why",
    "not checked": "Not checked, and why",
    "not run": "Not run here, and why",
}
STYLES: Final[dict[str, str]] = {"passed": "green", "failed": "bold red", "not run": "yellow", "not checked": "cyan"}
LATENCY_NOTE: Final = "Latency is the median of this run, as information; it is not a benchmark."
COLUMNS: Final = ("format", "size", "target", "agreement", "accuracy", "difference", "latency", "verdict")
# The same where the terminal is narrow: all eight fit into 80.
NARROW_COLUMNS: Final = ("format", "size", "target", "agree-\nment", "accu-\nracy", "max\ndiff", "latency", "verdict")
TOLERANCE: Final = {"top1_agreement", "max_difference", "mean_difference", "reason"}


class Finding(NamedTuple):
    """One reason, and every place it holds for."""

    outcome: Outcome
    where: str
    reason: str


def print_table(report: Report, console: "Console") -> None:
    """Print the table, the reason of every row that did not pass, and one line that sums up."""
    from rich.text import Text

    width = console.width if console.is_terminal else max(console.width, PIPED_WIDTH)
    console.print(_table(report.rows, console, width), soft_wrap=True)
    console.print()
    reasons = [f"{found.outcome}: {found.where}: {found.reason}" for found in findings(report.rows)]
    for line in (*notes(report), *reasons, summary(report)):
        room = width if console.is_terminal else len(line) + 1
        text = Text(textwrap.fill(line, room, subsequent_indent="    ", break_on_hyphens=False))
        if (outcome := line.partition(":")[0]) in STYLES:
            text.stylize(STYLES[outcome], 0, len(outcome))
        console.print(text, soft_wrap=True)


def write_report(report: Report, folder: Path) -> None:
    """Write report.json, report.md and report.html into a folder, each whole or not at all.

    What JSON cannot say (NaN, infinity) is written as null, and the page says no more than report.json does.

    Raises:
        EdgeError: the folder cannot be written.
    """
    told = json.loads(json.dumps(report.as_json(), ensure_ascii=False).encode(errors="replace"), parse_constant=lambda _: None)
    report = _report({name: value for name, value in told.items() if name != "schema"})
    latency = latency_section(folder, report.rows)
    markdown = _markdown(report) + "\n".join(latency_markdown(latency, _markdown_table))
    page = _page(report, latency)
    write_json(folder / REPORT, told)
    write_whole(folder / "report.md", markdown)
    write_whole(folder / "report.html", page)


def latency_as_markdown(told: dict[str, Any]) -> str:
    """Return a latency run as Markdown, as report.md has it; ``told`` is what latency_page.py tells of it."""
    return "\n".join(latency_markdown(told, _markdown_table))


def read_report(path: Path) -> Report:
    """Return the report that a report.json holds.

    Raises:
        EdgeError: the file is missing, cut short, or not of this schema.
    """
    return read_record(path, SCHEMA, _report, "a report", "make export-all")


def findings(rows: Iterable[Row]) -> list[Finding]:
    """Return the reasons of all rows that did not pass, failures first, formats with the same reason told together."""
    formats: dict[tuple[Outcome, str, str], list[str]] = {}
    for row in rows:
        if row.outcome in HEADINGS:
            formats.setdefault((row.outcome, plain(row.target), plain(row.reason)), []).append(plain(row.format))
    found = [
        Finding(outcome, ", ".join(names) + (f" on {target}" if target != ABSENT else ""), reason or "no reason was given")
        for (outcome, target, reason), names in formats.items()
    ]
    return sorted(found, key=lambda finding: list(HEADINGS).index(finding.outcome))


def notes(report: Report) -> list[str]:
    """Return what a reader of the numbers must know."""
    software = [row for row in report.rows if row.environment.get("software_gpu")]
    if not software:
        return [LATENCY_NOTE]
    places, asked = ", ".join(dict.fromkeys(plain(row.target) for row in software)), max(row.images or 0 for row in software)
    return [LATENCY_NOTE, f"On a GPU made of software, for parity only: {asked} of {report.images} images, not timed: {places}."]


def summary(report: Report) -> str:
    """Return how many rows there are of each outcome, and what the original classifier scores, as one line."""
    outcomes = [row.outcome for row in report.rows]
    counts = ", ".join(f"{outcomes.count(outcome)} {outcome}" for outcome in OUTCOMES)
    return f"{counts}; reference accuracy {percent(report.reference_accuracy)} on {report.images} images"


def _table(rows: Sequence[Row], console: "Console", width: int) -> "Table":
    """Return the table with whole column names where they fit, with broken ones where not."""
    for names, padding in ((COLUMNS, 1), (NARROW_COLUMNS, 0)):
        table = _filled(rows, names, padding)
        natural = console.measure(table, options=console.options.update(max_width=10 * width)).maximum
        table.width = min(natural, width)
        if natural <= width:
            break
    return table


def _filled(rows: Sequence[Row], names: Sequence[str], padding: int) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, padding, 0, 0), collapse_padding=True, pad_edge=False, show_edge=False)
    for name in names:
        is_name = name in {"format", "target"}
        table.add_column(name, justify="left" if is_name or name == "verdict" else "right", no_wrap=not is_name, overflow="fold")
    for row in rows:
        table.add_row(
            Text(plain(row.format)),
            size(row.bytes),
            Text(plain(row.target)),
            percent(row.top1_agreement),
            percent(row.accuracy),
            difference(row.max_difference),
            milliseconds(row.latency_ms_median),
            Text(row.outcome, style=STYLES[row.outcome]),
        )
    return table


def _markdown(report: Report) -> str:
    """Return the report as GitHub-flavoured Markdown."""
    verdict = VERDICTS[exit_status(report.rows)]
    lines = [f"# {escaped(report.model)}: {verdict}", "", f"{summary(report)}.", ""]
    lines += [f"Written {escaped(report.created)}; classifier sha256 {escaped(report.source_sha256)}.", ""]
    measured = ("agreement", "accuracy", "largest difference", "mean difference", "size", "latency", "load")
    lines += _markdown_table(("format", "target", "verdict", *measured), [_measured(row) for row in report.rows])
    lines += ["", *(line for note in notes(report) for line in (note, ""))]
    for outcome, heading in HEADINGS.items():
        if found := [finding for finding in findings(report.rows) if finding.outcome == outcome]:
            lines += [f"## {heading}", "", *(f"- **{escaped(one.where)}**: {escaped(one.reason)}" for one in found), ""]
    held = ("format", "target", "images", "held to", "remark", "sha256", "environment")
    lines += ["## What each row was held to, and where it ran", ""]
    lines += [*_markdown_table(held, [_held(row) for row in report.rows]), ""]
    for heading, facts in (("Machine", report.machine), ("Tools", report.tool_versions)):
        lines += [f"## {heading}", "", *(f"- {escaped(name)}: {escaped(said(fact))}" for name, fact in facts.items()), ""]
    return "\n".join(lines)


def _markdown_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    cells = [names, ["---"] * len(names), *([escaped(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def _measured(row: Row) -> tuple[str, ...]:
    fractions = percent(row.top1_agreement), percent(row.accuracy)
    differences = difference(row.max_difference), difference(row.mean_difference)
    times = milliseconds(row.latency_ms_median), milliseconds(row.load_ms)
    return (row.format, row.target, row.outcome, *fractions, *differences, size(row.bytes), *times)


def _held(row: Row) -> tuple[str, ...]:
    images, environment = ABSENT if row.images is None else str(row.images), said(row.environment) if row.environment else ABSENT
    return (row.format, row.target, images, held_to(row), row.reason or ABSENT, row.artifact_sha256 or ABSENT, environment)


def held_to(row: Row) -> str:
    """Return the tolerance of a row and its reason as a sentence."""
    if not row.tolerance:
        return ABSENT
    told = row.tolerance
    least, most, mean = percent(told["top1_agreement"]), told["max_difference"], told["mean_difference"]
    return f"agreement at least {least}, no difference above {most:g}, {mean:g} in the mean: {told['reason']}"


def said(value: Any) -> str:
    """Return a fact as somebody would say it: ``threads 2, delegates none``."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {said(fact)}" for name, fact in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(said, value)) or "none"
    return {"None": "none", "True": "yes", "False": "no"}.get(str(value), str(value))


def _page(report: Report, latency: dict[str, Any] | None) -> str:
    """Return the report as one HTML page that asks nothing of any network."""
    from jinja2 import Environment, StrictUndefined

    house = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    shown = (difference, held_to, milliseconds, percent, said, size)
    house.filters.update({function.__name__: function for function in shown})
    page = house.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    told: dict[str, Any] = {"report": report, "verdict": VERDICTS[exit_status(report.rows)], "summary": summary(report)}
    told |= {
        "latency": latency,
        "outcomes": OUTCOMES,
        "headings": HEADINGS,
        "findings": findings(report.rows),
        "notes": notes(report),
    }
    return page.render(told, largest=max([row.bytes or 0 for row in report.rows], default=0), places=_places(report.rows)) + "\n"


def _places(rows: Sequence[Row]) -> list[float | None]:
    """Return where each median latency lies between the smallest (0) and the largest (1), on a logarithmic scale."""
    latencies = [row.latency_ms_median for row in rows]
    logarithms = [math.log10(value) if value and value > 0 else None for value in latencies]
    known = [value for value in logarithms if value is not None]
    low, span = min(known, default=0.0), (max(known, default=0.0) - min(known, default=0.0)) or 1.0
    return [None if value is None else (value - low) / span for value in logarithms]


def _report(told: dict[str, Any]) -> Report:
    """Return a report from what JSON tells; raises ValueError, TypeError or KeyError for what is not one."""
    report = Report(**{**told, "rows": tuple(Row(**row) for row in told["rows"]), "asked": tuple(told["asked"])})
    _check(report)
    for row in report.rows:
        _check(row)
        if row.tolerance is not None and set(row.tolerance) != TOLERANCE:
            raise ValueError(f"a tolerance does not consist of {', '.join(sorted(TOLERANCE))}")
    return report


def _check(record: Report | Row) -> None:
    for item in fields(record):
        value = getattr(record, item.name)
        if not _fits(value, item.type):
            raise ValueError(f"{item.name} is {value!r:.60}")


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    kinds = get_args(kind) if isinstance(kind, type(int | None)) else (kind,)
    return any(isinstance(value, (int, float) if one is float else get_origin(one) or one) for one in kinds)
