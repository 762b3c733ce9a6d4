# SPDX-License-Identifier: Apache-2.0
"""The chart of a network's errors: one line per part, from the input down to the output, with the ways that skip parts."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from edgeferry.benchmarks.explain.faulty import is_faulty
from edgeferry.benchmarks.explain.result import LayerCost
from edgeferry.benchmarks.report.charts import ACCENT, SOFT, TEXT, WORSE
from edgeferry.benchmarks.report.words import difference

ROW: Final = 15
GRAPH_WIDTH: Final = 60
EFFECT_WIDTH: Final = 250
ERROR_WIDTH: Final = 250
# Lanes for the ways that skip parts, so that they do not lie on each other.
LANES: Final = 5
# A logarithmic axis has no zero: what is less is not drawn.
LEAST_ERROR: Final = 1e-8
KINDS: Final = ("as its precision explains", "more than its precision explains")


def network_chart(layers: Sequence[LayerCost]) -> Any:
    """Return the graph, what each part alone does to the probabilities, and the errors that enter, are added and leave."""
    import altair as alt

    rows = [_row(at, cost) for at, cost in enumerate(layers)]
    place = alt.Y("at:O", axis=None, scale=alt.Scale(domain=list(range(len(rows)))))
    base = alt.Chart(alt.Data(values=rows)).encode(y=place)
    names = base.encode(
        y=alt.Y(
            "at:O",
            title=None,
            axis=alt.Axis(labelExpr=f"{[row['name'] for row in rows]}[datum.value]", labelLimit=220, domain=False, ticks=False),
        )
    )
    effect = names.mark_bar().encode(
        x=alt.X("effect:Q", title="alone changes probabilities by"),
        color=alt.Color(
            "kind:N", title=None, scale=alt.Scale(domain=list(KINDS), range=[ACCENT, WORSE]), legend=alt.Legend(orient="bottom")
        ),
        description="text:N",
    )
    height = ROW * len(rows)
    drawn = {name: base.transform_filter(f"datum.{name} > {LEAST_ERROR}") for name in ("out", "expected", "added")}
    kind = alt.Color("kind:N", scale=alt.Scale(domain=list(KINDS), range=[ACCENT, WORSE]), legend=None)
    leaving = drawn["out"].mark_line(color=SOFT, strokeDash=[3, 2]).encode(x=_error("out"), order="at:Q")
    expected = drawn["expected"].mark_tick(color=TEXT, thickness=1.5, size=11).encode(x=_error("expected"))
    added = drawn["added"].mark_point(filled=True, size=45).encode(x=_error("added"), color=kind, description="text:N")
    return alt.hconcat(
        _graph(layers, place).properties(width=GRAPH_WIDTH, height=height),
        effect.properties(width=EFFECT_WIDTH, height=height),
        alt.layer(leaving, expected, added).properties(width=ERROR_WIDTH, height=height),
        spacing=16,
    )


def _row(at: int, cost: LayerCost) -> dict[str, Any]:
    is_more = is_faulty(cost) and cost.unexplained_effect > 0
    return {
        "at": at,
        "name": cost.name,
        "effect": cost.effect,
        "added": cost.error_added,
        "out": cost.error_out,
        "expected": cost.error_expected or 0.0,
        "kind": KINDS[is_more],
        "text": f"{cost.name} ({', '.join(cost.operations)}): alone {difference(cost.effect)}",
    }


def _error(name: str) -> Any:
    import altair as alt

    axis = alt.Axis(format=".0e", tickCount=6)
    return alt.X(f"{name}:Q", title="error, relative to the layer's values", scale=alt.Scale(type="log"), axis=axis)


def _graph(layers: Sequence[LayerCost], place: Any) -> Any:
    """Return a dot for each part, and a line from each to the parts that read it; those that skip parts lie to the left."""
    import altair as alt

    lines = [point for number, (start, end) in enumerate(edges(layers)) for point in _way(number, start, end)]
    across = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-LANES, 0.5]))
    dots = [{"at": at, "x": 0} for at in range(len(layers))]
    ways = alt.Chart(alt.Data(values=lines)).mark_line(color=SOFT, strokeWidth=1)
    return alt.layer(
        ways.encode(x=across, y=place, detail="way:N", order="step:Q"),
        alt.Chart(alt.Data(values=dots)).mark_point(filled=True, size=28, color=SOFT).encode(x=across, y=place),
    )


def edges(layers: Sequence[LayerCost]) -> Iterator[tuple[int, int]]:
    """Yield the parts that each part begins with, and itself, by number."""
    number = {cost.node: at for at, cost in enumerate(layers)}
    for at, cost in enumerate(layers):
        yield from ((number[start], at) for start in cost.starts if start in number)


def _way(number: int, start: int, end: int) -> Iterator[dict[str, Any]]:
    across = 0 if end - start == 1 else -1 - (start % (LANES - 1))
    points = [(start, 0), (start, across), (end, across), (end, 0)] if across else [(start, 0), (end, 0)]
    yield from ({"way": number, "step": step, "at": at, "x": x} for step, (at, x) in enumerate(points))
