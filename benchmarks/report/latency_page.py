# SPDX-License-Identifier: Apache-2.0
"""The part of the report's pages that tells of latency: what latency.json holds, beside the rows of the report."""

import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.latency.costs import Costs
from edgeferry.benchmarks.latency.machine import what_differs
from edgeferry.benchmarks.latency.records import HISTORY, LATENCY, Case, Latencies, read_history, read_latencies
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.report.charts import family
from edgeferry.benchmarks.report.latency_text import against_baseline, graded, latency_lines, percentile, ratio_of, row_target
from edgeferry.benchmarks.report.plots import latency_plots, plots_missing
from edgeferry.benchmarks.report.words import ABSENT, escaped, milliseconds, percent, rate, size
from edgeferry.models.system.errors import EdgeError

HEADINGS: Final = ("format", "target", "median", "p90", "p99", "load", "first", "to baseline", "verdict", "grade")
COSTS: Final = (
    *("format", "target", "size", "gzip", "memory", "arena", "before", "after"),
    *("one by one", "in batches", "at once", "energy"),
)
COSTS_NOTE: Final = (
    "Memory: the peak above what the process held before the runtime was loaded, and what it holds on a GPU. Arena: what the "
    "runtime plans for tensors; TF Lite's without what XNNPACK takes for itself, ONNX Runtime's with the weights it keeps there. "
    "Before and after: normalising an image and handing it over, and making scores of the answer; decoding an image file is in "
    "neither, but for an endpoint, which does it. Answers a second: one by one, in arrays of several images, and at once, by as "
    "many threads as cores, on a GPU four at most, each with a session of its own; of an endpoint, over as many connections."
)
OPERATIONS: Final = ("format", "target", "operation", "time", "share")
SLOWEST: Final = 5
STALE: Final = "measured on another version of the artifact; run `make bench`"
Tables = Callable[[Sequence[str], Sequence[Sequence[str]]], list[str]]


def latency_section(folder: Path, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return what the page tells of the last latency run of a model's folder, or None where there was none."""
    found, problem = _read(folder)
    if problem:
        return {"problem": problem, "machine": {}}
    return None if found is None else latency_fields(found, folder, rows)


def latency_fields(found: Latencies, folder: Path, rows: Sequence[Row]) -> dict[str, Any]:
    """Return what the page tells of a run, beside the rows of the report and the earlier runs in a model's folder."""
    runs, unread = read_history(folder)
    notes = [*latency_lines(found), *([f"lines of {HISTORY} that cannot be read and are left out: {unread}"] if unread else [])]
    missing = plots_missing()
    return {
        "problem": "",
        "created": found.created,
        "processor": found.machine.get("processor") or "a processor that tells no name",
        "samples": f"{found.launches} launches of {found.rounds} rounds in turns",
        "tables": _tables(found, rows),
        "machine": {name: fact for name, fact in found.machine.items() if not isinstance(fact, dict)} | _states(found),
        "notes": [*notes, *([missing] if missing else [])],
        "plots": []
        if missing
        else latency_plots(found, rows, [run for run in runs if not what_differs(run.machine, found.machine)]),
    }


def latency_markdown(told: dict[str, Any] | None, table: Tables) -> list[str]:
    """Return the same as lines of Markdown; ``table`` makes one."""
    if told is None:
        return []
    if told["problem"]:
        return ["## Latency", "", escaped(told["problem"]), ""]
    lines = ["## Latency", "", f"Measured {escaped(told['created'])} on {escaped(told['processor'])}: {told['samples']}.", ""]
    for each in told["tables"]:
        lines += [f"### {each['heading']}", ""] if each["heading"] else []
        lines += [*table(each["headings"], [[cell["text"] for cell in case["cells"]] for case in each["cases"]]), ""]
        lines += [escaped(each["note"]), ""] if each["note"] else []
    return [*lines, *(f"- {escaped(note)}" for note in told["notes"]), ""]


def _read(folder: Path) -> tuple[Latencies | None, str]:
    if not (folder / LATENCY).is_file():
        return None, ""
    try:
        return read_latencies(folder / LATENCY), ""
    except EdgeError as error:
        return None, str(error)


def _cells(case: Case, found: Latencies, rows: Sequence[Row]) -> dict[str, Any]:
    """Return a case's cells, each with its text and what it is sorted by, and what speaks against its figures."""
    ratio, interval, verdict = against_baseline(case, found)
    against = ratio_of(case, found)
    load, first = (statistics.median(times) if times else None for times in (case.load_ms, case.first_ms))
    percentiles = [(percentile(case, each), case.percentile_ms(each)) for each in (50, 90, 99)]
    times = [(milliseconds(each), each) for each in (load, first)]
    compared = (f"{ratio} {interval}".strip(), against.ratio.ratio if against else 1 if ratio == "baseline" else None)
    words = [(verdict or ABSENT, verdict), (graded(case), graded(case))]
    told = [(case.format, case.format), (row_target(case), row_target(case)), *percentiles, *times, compared, *words]
    current = {row.artifact_sha256 for row in rows if row.format == case.format} - {None}
    stale = [STALE] if current and case.artifact_sha256 not in current else []
    notices = [f"{notice.what}; {notice.advice}" for notice in case.warnings]
    return _entry(zip(HEADINGS, told, strict=True), graded(case), [*stale, *notices, *([case.reason] if case.reason else [])])


def _tables(found: Latencies, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return the tables: latencies, what else artifacts cost, and their slowest operations; those of nothing are left out."""
    timed = [_cells(case, found, rows) for case in found.cases if case.samples_ms]
    costs = [_costs(case, case.costs) for case in found.cases if case.costs]
    slowest = [entry for case in found.cases if case.costs for entry in _slowest(case, case.costs)]
    tables = [
        {"heading": "", "label": "The latency of every artifact on every target", "headings": HEADINGS, "texts": [0, 1, 8, 9]},
        {
            "heading": "What else it costs",
            "label": "What every artifact costs beside its latency",
            "headings": COSTS,
            "texts": [0, 1],
        },
        {
            "heading": "The slowest operations",
            "label": "Every artifact's slowest operations",
            "headings": OPERATIONS,
            "texts": [0, 1, 2],
        },
    ]
    notes = ("", COSTS_NOTE, "")
    filled = zip(tables, (timed, costs, slowest), notes, strict=True)
    return [table | {"cases": cases, "note": note} for table, cases, note in filled if cases]


def _costs(case: Case, costs: Costs) -> dict[str, Any]:
    batches = f"{rate(costs.batch_per_s)} of {costs.batch}" if costs.batch else ABSENT
    # Two lines of a cell where a page has little room for twelve columns.
    on_gpu = f",\nGPU {size(costs.gpu_memory_bytes)}" if costs.gpu_memory_bytes is not None else ""
    at_once = f"{rate(costs.concurrent_per_s)} by {costs.workers}" if costs.workers else ABSENT
    told = [
        (case.format, case.format),
        (row_target(case), row_target(case)),
        (size(case.bytes), case.bytes),
        (size(case.compressed_bytes), case.compressed_bytes),
        (size(costs.memory_bytes) + on_gpu, costs.memory_bytes),
        (size(costs.arena_bytes), costs.arena_bytes),
        (milliseconds(costs.before_ms), costs.before_ms),
        (milliseconds(costs.after_ms), costs.after_ms),
        (rate(costs.serial_per_s), costs.serial_per_s),
        (batches, costs.batch_per_s),
        (at_once, costs.concurrent_per_s),
        (ABSENT if costs.energy_mj is None else f"{costs.energy_mj:.3g} mJ\n({costs.energy_by})", costs.energy_mj),
    ]
    return _entry(zip(COSTS, told, strict=True), notices=[costs.problem] if costs.problem else [])


def _slowest(case: Case, costs: Costs) -> list[dict[str, Any]]:
    total = sum(each.ms for each in costs.operations)
    slowest = sorted((each for each in costs.operations if each.ms), key=lambda each: -each.ms)[:SLOWEST]
    return [
        _entry(
            zip(
                OPERATIONS,
                [
                    (case.format, case.format),
                    (row_target(case), row_target(case)),
                    (f"{each.kind} ({each.name}): {family(each.kind)}", each.kind),
                    (milliseconds(each.ms), each.ms),
                    (percent(each.ms / total), each.ms / total),
                ],
                strict=True,
            )
        )
        for each in slowest
    ]


def _entry(told: Iterable[tuple[str, tuple[str, Any]]], grade: str = "", notices: Sequence[str] = ()) -> dict[str, Any]:
    """Return a row of a table: cells with a text and what they are sorted by, a grade and what speaks against the figures."""
    cells = [{"label": label, "text": text, "value": "" if value is None else value} for label, (text, value) in told]
    return {"cells": cells, "grade": grade, "notices": notices}


def _states(found: Latencies) -> dict[str, Any]:
    """Return what the machine was like before and after the run, where it told."""
    moments = [found.machine.get(moment) or {} for moment in ("before", "after")]
    told = {
        name.replace("_", " "): [moment.get(name) for moment in moments] for name in ("load", "frequency_mhz", "temperature_c")
    }
    told |= {
        f"GPU {name.replace('_', ' ')}": [(moment.get("gpu") or {}).get(name) for moment in moments]
        for name in ("temperature_c", "busy", "slowed_s")
    }
    return {
        f"{name}, before and after": " and ".join("not told" if value is None else f"{value:.4g}" for value in values)
        for name, values in told.items()
        if any(value is not None for value in values)
    }
