# SPDX-License-Identifier: Apache-2.0
"""The self-test in the terminal and in the report: what was planted in each format, and what the check caught."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.report.words import escaped, percent
from edgeferry.benchmarks.selftest.result import SELFTEST, SelfTest, Tally, false_alarms, missed, read_selftest, tallies, tally
from edgeferry.benchmarks.selftest.trial import HARMFUL_CHANGED, HARMFUL_LOST, Trial
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from rich.console import Console

HEADINGS: Final = (
    "format",
    "target",
    "harmful caught",
    "subtle caught",
    "outside the images",
    "without effect",
    "honest exports that failed",
)
ALL: Final = "all"
# Faults that were missed are listed up to this many.
MOST_LISTED: Final = 20
TableWriter = Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]


def selftest_section(folder: Path, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return the page's fields of the last self-test in a model's folder, or None where there was none."""
    if not (folder / SELFTEST).is_file():
        return None
    try:
        found = read_selftest(folder)
    except EdgeError as error:
        return {"problem": str(error)}
    return {"problem": "", **selftest_fields(found), "stale": _stale(found, rows)}


def selftest_fields(found: SelfTest) -> dict[str, Any]:
    """Return what is shown of a self-test: a table, the faults that were missed, and what was not tried."""
    cells = [_cells(each) for each in (*tallies(found.trials), tally(ALL, "", found.trials))]
    listed = [*false_alarms(found.trials), *missed(found.trials)]
    return {
        "summary": _summary(found),
        "headings": HEADINGS,
        "cells": cells,
        "table": _table(cells),
        "missed": [_sentence(each) for each in listed[:MOST_LISTED]],
        "notes": list(_notes(found, len(listed))),
    }


def selftest_markdown(fields: dict[str, Any] | None, table: TableWriter) -> list[str]:
    """Return the same as lines of Markdown; ``table`` writes one table."""
    if fields is None:
        return []
    if fields["problem"]:
        return ["## Self-test of the check", "", escaped(fields["problem"]), ""]
    lines = ["## Self-test of the check", "", escaped(fields["summary"]), "", *table(fields["headings"], fields["cells"]), ""]
    lines += [f"- missed: {escaped(each)}" for each in fields["missed"]]
    return [*lines, *(f"- {escaped(each)}" for each in (*fields["notes"], *fields["stale"])), ""]


def print_selftest(found: SelfTest, console: "Console") -> None:
    """Print a self-test."""
    from rich.table import Table

    fields = selftest_fields(found)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for at, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="left" if at < 2 else "right", no_wrap=at < 2)
    for row in fields["cells"]:
        table.add_row(*row)
    console.print(fields["summary"], highlight=False)
    console.print(table)
    for each in fields["missed"]:
        console.print(f"missed: {each}", highlight=False, markup=False)
    for each in fields["notes"]:
        console.print(each, highlight=False, markup=False)


def _table(rows: Sequence[Sequence[str]]) -> dict[str, Any]:
    """Return the table as the page's macro takes it, each cell with what it is sorted by."""
    cases = [
        {
            "cells": [{"label": label, "text": text, "value": text} for label, text in zip(HEADINGS, row, strict=True)],
            "grade": "",
            "warnings": [],
        }
        for row in rows
    ]
    return {
        "label": "What the check caught of the faults planted in each format",
        "headings": HEADINGS,
        "texts": range(len(HEADINGS)),
        "cases": cases,
    }


def _summary(found: SelfTest) -> str:
    return (
        f"{len(found.trials)} artifacts with a planted fault, or exported again honestly, were judged as the check judges: "
        f"{found.golden} golden images, and {found.images} images in all to measure what a fault changes. Harmful: more than "
        f"{percent(HARMFUL_CHANGED)} of answers change, or more than {percent(HARMFUL_LOST)} of accuracy is lost; subtle: any "
        "answer changes."
    )


def _cells(found: Tally) -> list[str]:
    counts = (found.harmful, found.subtle, found.elsewhere)
    honest = found.failed_honest
    return [found.format, found.target, *map(str, counts), str(found.no_effect.planted), str(honest)]


def _sentence(trial: Trial) -> str:
    where = f"{trial.format} on {trial.target}: {trial.fault}"
    if trial.harm == "honest":
        return f"{where} is no fault, but failed: {trial.reason}"
    if trial.harm == "elsewhere":
        return f"{where}; nothing that is checked looks there"
    lost = f", accuracy lost {percent(trial.lost)}" if trial.lost is not None and trial.lost > 0 else ""
    return f"{where}; {trial.harm}, {percent(trial.changed)} of answers change{lost}"


def _notes(found: SelfTest, listed: int) -> Iterator[str]:
    if listed > MOST_LISTED:
        yield f"{listed - MOST_LISTED} more are in {SELFTEST}"
    if found.untried:
        yield f"no time for {_counts(found.untried)}; --seconds gives more"
    if found.impossible:
        yield f"no place for these faults in this model: {_counts(found.impossible)}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} in {name}" for name, count in sorted(counts.items()))


def _stale(found: SelfTest, rows: Sequence[Row]) -> list[str]:
    """Return a sentence for every artifact that was exported again since."""
    now = {row.format: row.artifact_sha256 for row in rows if row.artifact_sha256}
    changed = [name for name, sha256 in found.artifacts.items() if name in now and now[name] != sha256]
    return [f"out of date: {', '.join(sorted(changed))} exported again since"] if changed else []
