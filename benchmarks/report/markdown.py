# SPDX-License-Identifier: Apache-2.0
"""The report as GitHub-flavoured Markdown."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from edgeferry.benchmarks.parity.judging.metric import metrics
from edgeferry.benchmarks.parity.rows import Report, Row, exit_status
from edgeferry.benchmarks.report.flips import class_name, confusion
from edgeferry.benchmarks.report.latency_page import latency_markdown
from edgeferry.benchmarks.report.selftest_page import selftest_markdown
from edgeferry.benchmarks.report.summary import (
    HEADINGS,
    VERDICTS,
    environment_of,
    findings,
    notes,
    said,
    summary,
    tolerance_of,
)
from edgeferry.benchmarks.report.words import ABSENT, difference, escaped, milliseconds, size


def report_as_markdown(report: Report, latency: dict[str, Any] | None, selftest: dict[str, Any] | None = None) -> str:
    """Return a report as Markdown; ``latency`` and ``selftest`` are what latency_page.py and selftest_page.py return."""
    lines = [f"# {escaped(report.model)}: {VERDICTS[exit_status(report.rows, report.unmet)]}", "", f"{summary(report)}.", ""]
    lines += [f"Written {escaped(report.created)}; model sha256 {escaped(report.source_sha256)}.", ""]
    titles = [metric.title for metric in metrics().values()]
    lines += markdown_table(("format", "target", "verdict", *titles, "size", "latency", "load"), map(_measured, report.rows))
    lines += ["", *(line for note in notes(report) for line in (escaped(note), ""))]
    lines += [line for each in report.unmet for line in (f"**Not met**: {escaped(each)}", "")]
    lines += [*_reasons(report.rows), *_flips(report), "## Tolerance and environment of each row", ""]
    details = ("format", "target", "images", "tolerance", "reason", "sha256", "environment")
    lines += [*markdown_table(details, map(_details, report.rows)), ""]
    for heading, facts in (("Machine", report.machine), ("Tools", report.tool_versions)):
        lines += [f"## {heading}", "", *(f"- {escaped(name)}: {escaped(said(fact))}" for name, fact in facts.items()), ""]
    return "\n".join([*lines, *latency_markdown(latency, markdown_table), *selftest_markdown(selftest, markdown_table)])


def latency_as_markdown(fields: dict[str, Any]) -> str:
    """Return a latency run as Markdown, as report.md has it; ``fields`` is what latency_page.py returns for it."""
    return "\n".join(latency_markdown(fields, markdown_table))


def markdown_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Return the lines of a table; its texts are escaped."""
    cells = [names, ["---"] * len(names), *([escaped(cell) for cell in row] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


def _reasons(rows: Sequence[Row]) -> Iterator[str]:
    found = findings(rows)
    for outcome, heading in HEADINGS.items():
        ours = [finding for finding in found if finding.outcome == outcome]
        if ours:
            yield from (f"## {heading}", "", *(f"- **{escaped(one.where)}**: {escaped(one.sentence)}" for one in ours), "")


def _flips(report: Report) -> Iterator[str]:
    """Yield the images with another class, each row's worst one, with the confusion of all."""
    rows = [row for row in report.rows if row.verdict.flips]
    if rows:
        head = ("format", "target", "worst image", "Keras model", "artifact", "difference", "flips")
        yield from (
            "## Images with another class than the Keras model's",
            "",
            *markdown_table(head, (_flip(report, row) for row in rows)),
            "",
        )


def _flip(report: Report, row: Row) -> tuple[str, ...]:
    worst = row.verdict.flips[0]
    classes = class_name(report.labels, worst.reference), class_name(report.labels, worst.found)
    return (
        row.format,
        row.target,
        str(worst.image),
        *classes,
        difference(worst.difference),
        confusion(report.labels, row.verdict.flips),
    )


def _measured(row: Row) -> tuple[str, ...]:
    values = [metric.cell(row.metric(metric.name), row.verdict.images) for metric in metrics().values()]
    times = milliseconds(row.latency_ms_median), milliseconds(row.load_ms)
    return (row.format, row.target, "out of date" if row.outdated else row.outcome, *values, size(row.bytes), *times)


def _details(row: Row) -> tuple[str, ...]:
    images = ABSENT if row.verdict.images is None else str(row.verdict.images)
    digest = row.artifact_sha256 or ABSENT
    return (row.format, row.target, images, tolerance_of(row), row.reason or ABSENT, digest, environment_of(row))
