# SPDX-License-Identifier: Apache-2.0
"""The latency part of the report's pages: the content of latency.json, next to the rows of the report."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.latency.costs.table import cost_columns, cost_text, costs_note
from edgeferry.benchmarks.latency.machine import what_differs
from edgeferry.benchmarks.latency.records import HISTORY, LATENCY, Case, Latencies, read_history, read_latencies
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.report.charts import family
from edgeferry.benchmarks.report.latency_text import (
    against_baseline,
    baseline_ratio,
    graded,
    latency_lines,
    percentile,
    row_target,
)
from edgeferry.benchmarks.report.plots import latency_plots, plots_missing
from edgeferry.benchmarks.report.words import ABSENT, escaped, milliseconds, percent
from edgeferry.models.system.errors import EdgeError

HEADINGS: Final = ("format", "target", "median", "p90", "p99", "load", "first inference", "vs baseline", "verdict", "grade")
OPERATIONS: Final = ("format", "target", "operation", "time", "share")
SLOWEST: Final = 5
STALE: Final = "measured on another version of the artifact; run `make bench`"
TableWriter = Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]


def latency_section(folder: Path, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return the page's fields of the last latency run in a model's folder, or None where there was none."""
    found, problem = _read(folder)
    if problem:
        return {"problem": problem, "machine": {}}
    return None if found is None else latency_fields(found, folder, rows)


def latency_fields(found: Latencies, folder: Path, rows: Sequence[Row]) -> dict[str, Any]:
    """Return the page's fields of a run, given the rows of the report and the earlier runs in a model's folder."""
    runs, unread = read_history(folder)
    skipped = [f"lines of {HISTORY} that cannot be read and are skipped: {unread}"] if unread else []
    missing = plots_missing()
    comparable = [run for run in runs if not what_differs(run.machine, found.machine)]
    return {
        "problem": "",
        "created": found.created,
        "processor": found.machine.get("processor") or "an unnamed processor",
        "samples": f"{found.launches} launches of {found.rounds} interleaved rounds",
        "tables": _tables(found, rows),
        "machine": {name: fact for name, fact in found.machine.items() if not isinstance(fact, dict)} | _states(found),
        "notes": [*latency_lines(found), *skipped, *([missing] if missing else [])],
        "plots": [] if missing else latency_plots(found, rows, comparable),
    }


def latency_markdown(fields: dict[str, Any] | None, table: TableWriter) -> list[str]:
    """Return the same as lines of Markdown; ``table`` writes one table."""
    if fields is None:
        return []
    if fields["problem"]:
        return ["## Latency", "", escaped(fields["problem"]), ""]
    lines = [
        "## Latency",
        "",
        f"Measured {escaped(fields['created'])} on {escaped(fields['processor'])}: {fields['samples']}.",
        "",
    ]
    for each in fields["tables"]:
        lines += [f"### {each['heading']}", ""] if each["heading"] else []
        lines += [*table(each["headings"], [[cell["text"] for cell in case["cells"]] for case in each["cases"]]), ""]
        lines += [escaped(each["note"]), ""] if each["note"] else []
    return [*lines, *(f"- {escaped(note)}" for note in fields["notes"]), ""]


def _read(folder: Path) -> tuple[Latencies | None, str]:
    if not (folder / LATENCY).is_file():
        return None, ""
    try:
        return read_latencies(folder / LATENCY), ""
    except EdgeError as error:
        return None, str(error)


def _tables(found: Latencies, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the tables of latencies, costs and slowest operations; an empty one is left out."""
    tables = [_latency_table(found, rows), _costs_table(found.cases), _operations_table(found.cases)]
    return [table for table in tables if table["cases"]]


def _latency_table(found: Latencies, rows: Sequence[Row]) -> dict[str, Any]:
    return {
        "heading": "",
        "label": "The latency of every artifact on every target",
        "headings": HEADINGS,
        "texts": [0, 1, 8, 9],
        "cases": [_latency_row(case, found, rows) for case in found.cases if case.samples_ms],
        "note": "",
    }


def _latency_row(case: Case, found: Latencies, rows: Sequence[Row]) -> dict[str, Any]:
    """Return a case's cells, each with its text and what it is sorted by, and the warnings about its times."""
    speed, interval, verdict = against_baseline(case, found)
    against = baseline_ratio(case, found)
    load, first = (statistics.median(times) if times else None for times in (case.load_ms, case.first_ms))
    cells = [
        *_names(case),
        *((percentile(case, each), case.percentile_ms(each)) for each in (50, 90, 99)),
        *((milliseconds(each), each) for each in (load, first)),
        (f"{speed} {interval}".strip(), against.ratio.ratio if against else 1 if case.name == found.baseline else None),
        (verdict or ABSENT, verdict),
        (graded(case), graded(case)),
    ]
    current = {row.artifact_sha256 for row in rows if row.format == case.format} - {None}
    stale = [STALE] if current and case.artifact_sha256 not in current else []
    warnings = [*stale, *(warning.text for warning in case.warnings), *([case.reason] if case.reason else [])]
    return _row(zip(HEADINGS, cells, strict=True), graded(case), warnings)


def _costs_table(cases: Sequence[Case]) -> dict[str, Any]:
    """Return the table of costs, a column for every registered cost that some case has a number for."""
    shown = [case for case in cases if case.samples_ms and (case.costs or case.costs_problem)]
    columns = cost_columns(shown)
    headings = ("format", "target", *(cost.title for cost in columns))
    rows = []
    for case in shown:
        # A cell of two lines where a page has little room for many columns.
        costs = [(cost_text(cost, case).replace(" (", "\n("), case.costs.get(cost.name)) for cost in columns]
        problems = [case.costs_problem] if case.costs_problem else []
        rows.append(_row(zip(headings, [*_names(case), *costs], strict=True), warnings=problems))
    return {
        "heading": "Costs besides latency",
        "label": "What every artifact costs besides its latency",
        "headings": headings,
        "texts": [0, 1],
        "cases": rows,
        "note": costs_note(shown),
    }


def _operations_table(cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "heading": "The slowest operations",
        "label": "Every artifact's slowest operations",
        "headings": OPERATIONS,
        "texts": [0, 1, 2],
        "cases": [row for case in cases for row in _slowest(case)],
        "note": "",
    }


def _slowest(case: Case) -> list[dict[str, Any]]:
    total = sum(each.ms for each in case.operations)
    slowest = sorted((each for each in case.operations if each.ms), key=lambda each: -each.ms)[:SLOWEST]
    rows = []
    for each in slowest:
        operation = (f"{each.kind} ({each.name}): {family(each.kind)}", each.kind)
        cells = [*_names(case), operation, (milliseconds(each.ms), each.ms), (percent(each.ms / total), each.ms / total)]
        rows.append(_row(zip(OPERATIONS, cells, strict=True)))
    return rows


def _names(case: Case) -> list[tuple[str, Any]]:
    return [(case.format, case.format), (row_target(case), row_target(case))]


def _row(cells: Iterable[tuple[str, tuple[str, Any]]], grade: str = "", warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Return a row of a table: cells with a text and what they are sorted by, a grade and the warnings about its numbers."""
    shown = [{"label": label, "text": text, "value": "" if value is None else value} for label, (text, value) in cells]
    return {"cells": shown, "grade": grade, "warnings": warnings}


def _states(found: Latencies) -> dict[str, Any]:
    """Return the state of the machine before and after the run, as far as it was reported."""
    moments = [found.machine.get(moment) or {} for moment in ("before", "after")]
    states = {
        name.replace("_", " "): [moment.get(name) for moment in moments] for name in ("load", "frequency_mhz", "temperature_c")
    }
    states |= {
        f"GPU {name.replace('_', ' ')}": [(moment.get("gpu") or {}).get(name) for moment in moments]
        for name in ("temperature_c", "busy", "slowed_s")
    }
    return {
        f"{name}, before and after": " and ".join("unknown" if value is None else f"{value:.4g}" for value in values)
        for name, values in states.items()
        if any(value is not None for value in values)
    }
