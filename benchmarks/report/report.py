# SPDX-License-Identifier: Apache-2.0
"""The report's files: report.json, report.md and report.html."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.parity.reading import report_of
from edgeferry.benchmarks.parity.rows import REPORT, SCHEMA, Report, cleaned
from edgeferry.benchmarks.report.explained.page import explain_section
from edgeferry.benchmarks.report.flips import thumbnails
from edgeferry.benchmarks.report.html import report_as_html
from edgeferry.benchmarks.report.latency_page import latency_section
from edgeferry.benchmarks.report.markdown import report_as_markdown
from edgeferry.benchmarks.report.selftest_page import selftest_section
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import read_record, write_json, write_whole

MARKDOWN: Final = "report.md"
PAGE: Final = "report.html"
WRITER: Final = "make export-all"


def write_report(report: Report, folder: Path) -> None:
    """Write report.json, report.md and report.html into a folder, each whole or not at all.

    What JSON cannot hold (NaN, infinity) is written as null, and the page says no more than report.json does.

    Raises:
        EdgeError: the folder cannot be written.
    """
    report = cleaned(report)
    latency, selftest = latency_section(folder, report.rows), selftest_section(folder, report.rows)
    explained = explain_section(folder, report.rows)
    markdown = report_as_markdown(report, latency, selftest)
    page = report_as_html(report, latency, thumbnails(folder, report.rows), selftest, explained)
    write_json(folder / REPORT, report.as_json())
    write_whole(folder / MARKDOWN, markdown)
    write_whole(folder / PAGE, page)


def rewrite_report(folder: Path) -> None:
    """Write a folder's report again, with what was found since; nothing where there is none."""
    with suppress(EdgeError):
        write_report(read_report(folder / REPORT), folder)


def read_report(path: Path) -> Report:
    """Return the report that a report.json holds.

    Raises:
        EdgeError: the file is missing, cut short, or not of this schema.
    """
    _refuse_older(path)
    return read_record(path, SCHEMA, report_of, "a report", WRITER)


def _refuse_older(path: Path) -> None:
    """Refuse a report of an older schema; what cannot be read at all is left to the reader."""
    schema = None
    with suppress(OSError, ValueError, AttributeError):
        schema = json.loads(path.read_text(encoding="utf-8")).get("schema")
    if isinstance(schema, int) and schema < SCHEMA:
        raise EdgeError(
            "EF-report-older",
            f"{path} was written by an older release of edgeferry (schema {schema}, this one reads {SCHEMA}); run `{WRITER}`.",
        )
