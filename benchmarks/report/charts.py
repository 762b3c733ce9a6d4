# SPDX-License-Identifier: Apache-2.0
"""The charts of a latency run, as Altair charts; their colours are placeholders that the page replaces by its own."""

import math
import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, Final

from edgeferry.benchmarks.latency.records import Case, PastRun
from edgeferry.benchmarks.parity.rows import Row
from edgeferry.benchmarks.report.words import milliseconds, percent, size

WIDTH: Final = 620
ROW: Final = 19
PARETO_HEIGHT: Final = 320
# Where a name may be written next to its point: alignment, and the offset to the right and down, in pixels.
PLACES: Final = (("left", 8, -9), ("left", 8, 12), ("right", -8, -9), ("right", -8, 12), ("left", 8, -24), ("left", 8, 27))
# The mean width of a letter of a label, at most, in the fonts that pages are shown in.
LETTER: Final = 6.4
# Placeholders for the page's own colours, which differ between light, dark and print.
COLOURS: Final = {
    "#010101": "var(--text)",
    "#020202": "var(--soft)",
    "#030303": "var(--line)",
    "#040404": "var(--accent)",
    "#050505": "var(--card)",
    "#060606": "var(--failed)",
    "#070707": "var(--passed)",
    "#080808": "var(--not-checked)",
    "#110000": "var(--kind-1)",
    "#120000": "var(--kind-2)",
    "#130000": "var(--kind-3)",
    "#140000": "var(--kind-4)",
    "#150000": "var(--kind-5)",
    "#160000": "var(--kind-6)",
}
TEXT, SOFT, LINE, ACCENT, CARD, WORSE, BETTER, DOUBTFUL, *KINDS = COLOURS
AGREEMENTS: Final = ("100 %", "99 % and more", "below 99 %", "not checked")
# The width of a bin of a distribution, as a factor, and the change within a history that has the full colour.
BIN: Final = 1.04
FULL_CHANGE: Final = 1.3
# Operations by what they do: the first family with a word that is in the runtime's name of the operation.
FAMILIES: Final = {
    "depthwise convolution": ("dwconv", "depthwise"),
    "convolution": ("conv",),
    "dense, 1 x 1 convolution": ("fully connected", "gemm", "matmul", "dense"),
    "pooling, reduction": ("pool", "mean", "reduce", "sum"),
    "moving, reshaping, quantizing": ("reshape", "transpose", "quantize", "copy", "reorder", "pad", "cast", "convert", "concat"),
}
OTHER: Final = "element by element, other"


def family(kind: str) -> str:
    """Return the family of an operation, by a runtime's name of it."""
    known = kind.lower()
    return next((name for name, words in FAMILIES.items() if any(word in known for word in words)), OTHER)


def pareto(cases: Sequence[Case], rows: Sequence[Row]) -> Any:
    """Return median latency against size, one point per case; cases that no other beats are named."""
    import altair as alt

    scales = {"domain": list(AGREEMENTS)}
    base = alt.Chart(alt.Data(values=_points(cases, rows))).encode(
        x=alt.X("ms:Q", title="median latency, ms", scale=alt.Scale(type="log", nice=False, padding=12)),
        y=alt.Y("kB:Q", title="size, kB", scale=alt.Scale(type="log", nice=False, padding=12)),
        description="text:N",
    )
    points_drawn = base.mark_point(filled=True, size=70, opacity=0.85).encode(
        color=alt.Color("agreement:N", title="agreement", scale=alt.Scale(range=[ACCENT, DOUBTFUL, WORSE, SOFT], **scales)),
        shape=alt.Shape("agreement:N", scale=alt.Scale(range=["circle", "triangle-up", "diamond", "square"], **scales)),
    )
    named = [base.transform_filter(f"datum.place === {at}").encode(text="name:N") for at in range(len(PLACES))]
    names = [
        each.mark_text(align=align, dx=dx, dy=dy, color=TEXT, aria=False)
        for each, (align, dx, dy) in zip(named, PLACES, strict=True)
    ]
    return alt.layer(points_drawn, *names).properties(width=WIDTH, height=PARETO_HEIGHT)


def _points(cases: Sequence[Case], rows: Sequence[Row]) -> list[dict[str, Any]]:
    agreements = {(row.format, row.target): row.metric("top1_agreement") for row in rows}
    points = [
        (case, median_ms(case), int(case.costs.get("bytes") or 1), agreements.get((case.format, case.target))) for case in cases
    ]
    front = [
        (case.name, ms, count)
        for case, ms, count, agrees in points
        if not any(_beats(each[1:], (ms, count, agrees)) for each in points)
    ]
    places = _placed(front, [(ms, count) for _, ms, count, _ in points])
    return [
        {
            "ms": ms,
            "kB": count / 1000,
            "agreement": _agreement(agrees),
            "name": case.name,
            "place": places.get(case.name, -1),
            "text": f"{case.name}: {milliseconds(ms)}, {size(count)}, agreement {percent(agrees)}",
        }
        for case, ms, count, agrees in points
    ]


def _placed(named: Sequence[tuple[str, float, int]], points: Sequence[tuple[float, float]]) -> dict[str, int]:
    """Return the place (in PLACES) of each name, so that no two overlap; one without room is left out."""
    spans = [[math.log(value) for value in values] for values in zip(*points, strict=True)]
    boxes: list[tuple[float, float, float]] = []
    found = {}
    for name, *values in named:
        shares = [
            (math.log(value) - min(span)) / ((max(span) - min(span)) or 1) for value, span in zip(values, spans, strict=True)
        ]
        x, y, width = shares[0] * WIDTH, (1 - shares[1]) * PARETO_HEIGHT, LETTER * len(name)
        for at, (align, dx, dy) in enumerate(PLACES):
            left, height = x + dx - (width if align == "right" else 0), y + dy
            is_free = all(left > end or left + width < begin or abs(height - other) > ROW * 0.7 for begin, end, other in boxes)
            if is_free and left > 0 and left + width < WIDTH + ROW:
                boxes.append((left, left + width, height))
                found[name] = at
                break
    return found


def _beats(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Return whether one [latency, size, agreement] is nowhere worse than another, and somewhere better."""
    (ms, count, agrees), (other_ms, other_count, other_agrees) = one, other
    mine, yours = (ms, count, -(agrees or 0)), (other_ms, other_count, -(other_agrees or 0))
    return mine != yours and all(a <= b for a, b in zip(mine, yours, strict=True))


def _agreement(value: float | None) -> str:
    if value is None:
        return "not checked"
    return "100 %" if value == 1 else "99 % and more" if value >= 0.99 else "below 99 %"


def distributions(cases: Sequence[Case]) -> Any:
    """Return every case's times on one logarithmic axis."""
    import altair as alt

    x = alt.X("from:Q", title="ms", scale=alt.Scale(type="log", nice=False, padding=6))
    y = _names([case.name for case in cases])
    binned = alt.Chart(alt.Data(values=[each for case in cases for each in _bins(case)]))
    bars = binned.mark_bar(color=ACCENT, height=11).encode(
        x=x,
        x2="to:Q",
        y=y,
        opacity=alt.Opacity("share:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.1, 1])),
        description="text:N",
    )
    medians = [
        {"name": case.name, "from": median_ms(case), "text": f"{case.name}: {milliseconds(median_ms(case))}"} for case in cases
    ]
    marks = (
        alt.Chart(alt.Data(values=medians)).mark_tick(color=TEXT, thickness=2, height=15).encode(x=x, y=y, description="text:N")
    )
    return (bars + marks).properties(width=WIDTH, height=ROW * len(cases))


def _bins(case: Case) -> Iterator[dict[str, Any]]:
    """Yield the bins of a logarithmic scale that a case's times fall into, each with its count relative to the fullest."""
    counts = Counter(math.floor(math.log(ms, BIN)) for ms in case.samples_ms if ms > 0)
    for at, count in counts.items():
        low, high = BIN**at, BIN ** (at + 1)
        text = f"{case.name}: {count} of {len(case.samples_ms)} between {milliseconds(low)} and {milliseconds(high)}"
        yield {"name": case.name, "from": low, "to": high, "share": count / max(counts.values()), "text": text}


def operations(cases: Sequence[Case]) -> Any:
    """Return every case's operations in one bar, as shares of their total time."""
    import altair as alt

    values = []
    for case in cases:
        total = sum(each.ms for each in case.operations)
        values += [
            {
                "name": case.name,
                "order": order,
                "share": each.ms / total,
                "family": family(each.kind),
                "text": f"{each.kind} ({each.name}): {milliseconds(each.ms)}, {percent(each.ms / total)}",
            }
            for order, each in enumerate(case.operations)
            if each.ms
        ]
    kinds = [*FAMILIES, OTHER]
    bars = alt.Chart(alt.Data(values=values)).mark_bar(stroke=CARD, strokeWidth=0.7, height=22)
    return bars.encode(
        x=alt.X(
            "share:Q",
            title="share of the time of all operations",
            stack="zero",
            axis=alt.Axis(format="%"),
            scale=alt.Scale(domain=[0, 1]),
        ),
        y=_names([case.name for case in cases]),
        order="order:Q",
        color=alt.Color(
            "family:N", title=None, scale=alt.Scale(domain=kinds, range=KINDS), legend=alt.Legend(columns=3, orient="bottom")
        ),
        description="text:N",
    ).properties(width=WIDTH, height=30 * len(cases))


def history(runs: Sequence[PastRun]) -> Any:
    """Return the medians of runs, one column per run."""
    import altair as alt

    names = measured_again(runs)
    values = [cell for name in names for cell in _cells(name, runs)]
    base = alt.Chart(alt.Data(values=values)).encode(
        x=alt.X("run:O", title=None, axis=alt.Axis(labelAngle=-40), sort=[_when(at, run) for at, run in enumerate(runs)]),
        y=_names(names),
        description="text:N",
    )
    cells = base.mark_rect(stroke=LINE, strokeWidth=0.5).encode(
        color=alt.Color("way:N", title=None, scale=alt.Scale(domain=["slower", "faster"], range=[WORSE, BETTER])),
        opacity=alt.Opacity("far:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0, 0.75], clamp=True)),
    )
    labels = base.mark_text(fontSize=10, color=TEXT, aria=False).encode(text="ms:N")
    dots = base.transform_filter("datum.changed").mark_point(
        filled=True, size=18, color=TEXT, xOffset=-16, yOffset=-5, aria=False
    )
    return (cells + (labels + dots if len(runs) <= 10 else dots)).properties(width=WIDTH, height=ROW * len(names))


def measured_again(runs: Sequence[PastRun]) -> list[str]:
    """Return the names of the cases that more than one run measured, the last run's first."""
    counts = Counter(name for run in reversed(runs) for name in run.medians_ms)
    return [name for name, count in counts.items() if count > 1]


def _cells(name: str, runs: Sequence[PastRun]) -> Iterator[dict[str, Any]]:
    middle = statistics.median(run.medians_ms[name] for run in runs if name in run.medians_ms)
    last = None
    for at, run in enumerate(runs):
        if name in run.medians_ms:
            ms, artifact = run.medians_ms[name], run.artifacts.get(name)
            way = "slower" if ms > middle else "faster"
            changed = last not in {None, artifact}
            text = (
                f"{name}, {run.created}: {milliseconds(ms)}, {100 * abs(ms / middle - 1):.0f} % {way} than the median of its runs"
            )
            yield {
                "name": name,
                "run": _when(at, run),
                "ms": milliseconds(ms).removesuffix(" ms"),
                "way": way,
                "far": abs(math.log(ms / middle)) / math.log(FULL_CHANGE),
                "changed": changed,
                "text": text + ("; the artifact changed since the run before" if changed else ""),
            }
            last = artifact


def _when(at: int, run: PastRun) -> str:
    return f"{at + 1}: {run.created[5:16].replace('T', ' ')}"


def _names(names: Sequence[str]) -> Any:
    """Return the axis of names, with room for the longest in whatever font the page has."""
    import altair as alt

    return alt.Y("name:N", title=None, sort=list(names), axis=alt.Axis(minExtent=LETTER * max(map(len, names))))


def median_ms(case: Case) -> float:
    """Return the median of a case's times, milliseconds a call."""
    return statistics.median(case.samples_ms)
