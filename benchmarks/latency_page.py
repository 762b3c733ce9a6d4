# SPDX-License-Identifier: Apache-2.0
"""The part of the report's pages that tells of latency: what latency.json holds, beside the rows of the report."""

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.latencies import LATENCY, Case, Latencies, read_latencies
from benchmarks.latency_text import against_baseline, graded, latency_lines, percentile, ratio_of, row_of
from benchmarks.results import Row
from benchmarks.words import ABSENT, escaped, milliseconds
from models.errors import EdgeError

HEADINGS: Final = ("format", "target", "median", "p90", "p99", "load", "first", "to baseline", "verdict", "grade")
STALE: Final = "measured on another version of the artifact; run `make bench`"
Tables = Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]


def latency_section(folder: Path, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return what the page tells of the last latency run of a model's folder, or None where there was none."""
    found, problem = _read(folder)
    if problem:
        return {"problem": problem}
    if found is None:
        return None
    cases = [_cells(case, found, rows) for case in found.cases if case.samples_ms]
    return {
        "problem": "",
        "created": found.created,
        "processor": found.machine.get("processor") or "a processor that tells no name",
        "samples": f"{found.launches} launches of {found.rounds} rounds",
        "headings": HEADINGS,
        "cases": cases,
        "notes": list(latency_lines(found)),
    }


def latency_markdown(folder: Path, rows: Sequence[Row], table: Tables) -> list[str]:
    """Return the same as lines of Markdown; ``table`` makes one."""
    told = latency_section(folder, rows)
    if told is None:
        return []
    if told["problem"]:
        return ["## Latency", "", escaped(told["problem"]), ""]
    cells = [[cell["text"] for cell in case["cells"]] for case in told["cases"]]
    notes = [f"- {escaped(note)}" for note in told["notes"]]
    when = f"Measured {escaped(told['created'])} on {escaped(told['processor'])}: {told['samples']}."
    return ["## Latency", "", when, "", *table(HEADINGS, cells), "", *notes, ""]


def _read(folder: Path) -> tuple[Latencies | None, str]:
    if not (folder / LATENCY).is_file():
        return None, ""
    try:
        return read_latencies(folder / LATENCY), ""
    except EdgeError as error:
        return None, str(error)


def _cells(case: Case, found: Latencies, rows: Sequence[Row]) -> dict[str, Any]:
    """Return a case's cells, each with its text and what it is sorted by, and what speaks against its figures."""
    form, target, *_ = row_of(case, found)
    ratio, interval, verdict = against_baseline(case, found)
    against = ratio_of(case, found)
    load, first = (statistics.median(times) if times else None for times in (case.load_ms, case.first_ms))
    percentiles = [(percentile(case, each), case.percentile_ms(each)) for each in (50, 90, 99)]
    times = [(milliseconds(each), each) for each in (load, first)]
    compared = (f"{ratio} {interval}".strip(), against.ratio.ratio if against else 1 if ratio == "baseline" else None)
    words = [(verdict or ABSENT, verdict), (graded(case), graded(case))]
    told = [(form, form), (target, target), *percentiles, *times, compared, *words]
    current = {row.artifact_sha256 for row in rows if row.format == case.format} - {None}
    stale = [STALE] if current and case.artifact_sha256 not in current else []
    notices = [f"{notice.what}; {notice.advice}" for notice in case.warnings]
    return {
        "cells": [
            {"label": label, "text": text, "value": "" if value is None else value}
            for label, (text, value) in zip(HEADINGS, told, strict=True)
        ],
        "grade": graded(case),
        "notices": [*stale, *notices, *([case.reason] if case.reason else [])],
    }
