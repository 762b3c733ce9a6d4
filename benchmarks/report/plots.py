# SPDX-License-Identifier: Apache-2.0
"""Plots of a latency run for the report's page: SVG by Altair, with the page's own colours, for light, dark and print."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Final

from edgeferry.benchmarks.latency.records import Latencies, PastRun
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.report.charts import (
    COLOURS,
    LINE,
    SOFT,
    distributions,
    history,
    measured_again,
    median_ms,
    operations,
    pareto,
)

MOST_RUNS: Final = 20
MISSING: Final = "Altair or vl-convert is not installed, so there are no plots: `make install` installs both."
PARETO_NOTE: Final = (
    "Lower left is better. Artifacts that no other beats in latency, size and agreement at once are named; "
    "agreement is that of the parity check. Both axes are logarithmic."
)
DISTRIBUTION_NOTE: Final = "Every time of every launch, darker where there are more; the mark is the median. Logarithmic axis."
OPERATIONS_NOTE: Final = (
    "In the order in which they run, each as wide as its share of the time, by LiteRT's and ONNX Runtime's own profilers; "
    "point at one for its name. LiteRT's times are whole microseconds rounded down, so shorter operations are missing; ONNX "
    "Runtime's profiler makes short ones longer."
)
HISTORY_NOTE: Final = (
    "Medians of every run, oldest at the left, coloured by the distance from the median of the row; runs are not paired, so a "
    "whole column of one colour is a change of the machine, not of the artifacts. A dot marks a run with a changed artifact."
)


@dataclass(frozen=True)
class Plot:
    """One plot: its heading, a note on how to read it, and an <svg> element."""

    heading: str
    note: str
    svg: str


def plots_missing() -> str:
    """Return why no plot can be drawn here, or ''."""
    return "" if find_spec("altair") and find_spec("vl_convert") else MISSING


def latency_plots(found: Latencies, rows: Sequence[Row], runs: Sequence[PastRun]) -> list[Plot]:
    """Return the plots of a run and of those before it on the same machine."""
    measured = sorted((case for case in found.cases if case.state == "measured" and median_ms(case) > 0), key=median_ms)
    profiled = [case for case in measured if sum(each.ms for each in case.operations) > 0]
    drawn = []
    if measured:
        drawn += [
            Plot("Latency, size and agreement", PARETO_NOTE, svg_of(pareto(measured, rows))),
            Plot("Distribution of the times", DISTRIBUTION_NOTE, svg_of(distributions(measured))),
        ]
    if profiled:
        drawn.append(Plot("Time of each operation", OPERATIONS_NOTE, svg_of(operations(profiled))))
    if measured_again(runs[-MOST_RUNS:]):
        drawn.append(Plot("Earlier runs on this machine", HISTORY_NOTE, svg_of(history(runs[-MOST_RUNS:]))))
    return drawn


def svg_of(chart: Any) -> str:
    """Return a chart as an <svg> element that takes its colours and fonts from the page it is in."""
    import vl_convert

    axis = {
        "labelColor": SOFT,
        "titleColor": SOFT,
        "gridColor": LINE,
        "domainColor": LINE,
        "tickColor": LINE,
        "labelLimit": 300,
        "labelOverlap": "greedy",
    }
    legend = {"labelColor": SOFT, "titleColor": SOFT, "labelLimit": 260, "columnPadding": 60, "padding": 6}
    chart = (
        chart.configure(background="transparent", padding={"left": 5, "right": 40, "top": 5, "bottom": 5})
        .configure_axis(**axis)
        .configure_legend(**legend)
    )
    drawn: str = vl_convert.vegalite_to_svg(chart.configure_view(stroke=LINE).to_dict())
    for placeholder, colour in COLOURS.items():
        drawn = drawn.replace(placeholder, colour)
    drawn = re.sub(r' font-family="[^"]*"', "", drawn)
    # A browser shows a title at the pointer; a label is for screen readers.
    drawn = re.sub(r'(<path [^>]*?aria-label="([^"]*)"[^>]*?)/>', r"\1><title>\2</title></path>", drawn)
    return re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg class="plot" \1>', drawn, count=1)
