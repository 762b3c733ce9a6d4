# SPDX-License-Identifier: Apache-2.0
"""The last explanation in the report: what each difference comes from, and the errors along the network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.explain.result import EXPLAIN, Explained, read_explanation
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.report.explained.chart import network_chart
from edgeferry.benchmarks.report.explained.text import NOTE, cells, head, notes
from edgeferry.benchmarks.report.plots import plots_missing, svg_of
from edgeferry.models.system.errors import EdgeError

HEADINGS: Final = ("layers", "error in", "error added", "precision adds", "alone changes", "flips it causes", "worst channel")
PLOT_NOTE: Final = (
    "From the input down to the output. Left: which part reads which, and how far each part's error alone moves probabilities. "
    "Right: the dot is the error that a part adds, the tick what its precision explains, the dashed line all that has come "
    "together. Point at a part for its operations."
)


def explain_section(folder: Path, rows: Sequence[Row]) -> dict[str, Any] | None:
    """Return the page's fields of the last explanation in a model's folder, or None where there was none."""
    if not (folder / EXPLAIN).is_file():
        return None
    try:
        found = read_explanation(folder)
    except EdgeError as error:
        return {"problem": str(error), "results": []}
    exported = {row.format: row.artifact_sha256 for row in rows}
    return {
        "problem": "",
        "created": found.created,
        "note": NOTE,
        "headings": HEADINGS,
        "plots_missing": plots_missing(),
        "results": [_fields(each, exported.get(each.format)) for each in found.results],
    }


def _fields(result: Explained, now: str | None) -> dict[str, Any]:
    heading, *lines = head(result)
    stale = ["out of date: exported again since"] if now and result.artifact_sha256 and now != result.artifact_sha256 else []
    return {
        "heading": heading,
        "lines": [line.strip() for line in lines],
        "rows": [cells(cost) for cost in result.layers],
        "notes": [*notes(result), *stale],
        "plot": svg_of(network_chart(result.layers)) if result.layers and not plots_missing() else "",
        "plot_note": PLOT_NOTE,
    }
