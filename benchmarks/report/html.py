# SPDX-License-Identifier: Apache-2.0
"""The report as one HTML page that loads nothing from any network."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.parity.judging.metric import metrics
from edgeferry.benchmarks.parity.rows import NO_TARGET, Report, Row, exit_status
from edgeferry.benchmarks.report.flips import class_name, confusion
from edgeferry.benchmarks.report.shipping.page import matrix, shipping_section, sorted_rows
from edgeferry.benchmarks.report.summary import (
    HEADINGS,
    VERDICTS,
    counted,
    environment_of,
    findings,
    notes,
    said,
    summary,
    tolerance_of,
)
from edgeferry.benchmarks.report.words import difference, milliseconds, percent, size

if TYPE_CHECKING:
    from jinja2 import Template

# So many metrics have columns of their own; a row's details show all.
METRIC_COLUMNS: Final = 4
# The headline's shape and colour, by exit status.
SHAPES: Final = ("passed", "failed", "not-checked")


def report_as_html(
    report: Report,
    latency: dict[str, Any] | None,
    pictures: Mapping[int, str] = MappingProxyType({}),
    selftest: dict[str, Any] | None = None,
    explained: dict[str, Any] | None = None,
) -> str:
    """Return a report as a page.

    ``latency`` is what latency_page.py returns for its folder, ``pictures`` what flips.py ``selftest`` what selftest_page.py
    and ``explained`` what explained/page.py does.
    """
    page = page_template("report.html")
    status = exit_status(report.rows, report.unmet)
    report = replace(report, rows=sorted_rows(report))
    fields: dict[str, Any] = {
        "report": report,
        "verdict": VERDICTS[status],
        "shape": SHAPES[status],
        "summary": summary(report),
        "latency": latency,
        "shipping": shipping_section(report),
        "matrix": matrix(report),
        "selftest": selftest,
        "explained": explained,
        "counts": counted(report.rows),
        "headings": HEADINGS,
        "findings": findings(report.rows),
        "notes": notes(report),
        "metrics": list(metrics().values()),
        "columns": list(islice(metrics().values(), METRIC_COLUMNS)),
        "no_target": NO_TARGET,
        "pictures": pictures,
        "class_name": partial(class_name, report.labels),
        "confusion": partial(confusion, report.labels),
        "largest": max([row.bytes or 0 for row in report.rows], default=0),
        "places": _places(report.rows),
    }
    return page.render(fields) + "\n"


def page_template(name: str) -> "Template":
    """Return the template of a page in this folder; others extend report.html: its looks, its tables that can be sorted."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    folder = FileSystemLoader(Path(__file__).parent)
    templates = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, loader=folder)
    filters = (difference, environment_of, milliseconds, percent, said, size, tolerance_of)
    templates.filters.update({function.__name__: function for function in filters})
    return templates.get_template(name)


def _places(rows: Sequence[Row]) -> list[float | None]:
    """Return where each median latency lies between the smallest (0) and the largest (1), on a logarithmic scale."""
    latencies = [row.latency_ms_median for row in rows]
    logarithms = [math.log10(value) if value and value > 0 else None for value in latencies]
    known = [value for value in logarithms if value is not None]
    low, span = min(known, default=0.0), (max(known, default=0.0) - min(known, default=0.0)) or 1.0
    return [None if value is None else (value - low) / span for value in logarithms]
