# SPDX-License-Identifier: Apache-2.0
"""A scorecard in the terminal and as a page that loads nothing from any network."""

import textwrap
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.fleet.scorecard import RANKS, STATES, ModelCard, Scorecard, ScoreChange
from edgeferry.benchmarks.parity.outcome import Outcome
from edgeferry.benchmarks.report.html import page_template
from edgeferry.benchmarks.report.latency_text import PIPED_WIDTH
from edgeferry.benchmarks.report.overview import SEVERITY
from edgeferry.benchmarks.report.terminal import STYLES
from edgeferry.benchmarks.report.words import ABSENT, percent, size, times
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from rich.console import Console

MODEL_HEADINGS: Final = ("model", "verdict", "passed", "failed", "smallest", "fastest", "changed")
RESULT_HEADINGS: Final = (
    *("model", "format", "target", "verdict", "agreement", "accuracy", "size"),
    *("latency ratio", "before", "changed"),
)
# Columns that are sorted as text.
MODEL_TEXTS: Final = (0, 1, 6)
RESULT_TEXTS: Final = (0, 1, 2, 3, 8, 9)
# So many changes are listed, and so many models on a terminal.
MOST_LISTED: Final = 20
MOST_MODELS: Final = 40
NOTE: Final = (
    "Smallest: of what passed. The latency ratio is that of the last `edgeferry bench` to its baseline, and fastest the smallest "
    "of what passed. Before: the last report that found anything else."
)
SIGNS: Final = {0: "passed", 1: "failed", 2: "not checked"}


def print_scorecard(card: Scorecard, console: "Console", *, every_model: bool = False) -> None:
    """Print what became worse and what failed, a line for each model, and one line that sums up."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    width = console.width if console.is_terminal else max(console.width, PIPED_WIDTH)
    for line in _lines(card):
        room = width if console.is_terminal else len(line) + 1
        console.print(Text(textwrap.fill(line, room, subsequent_indent="    ", break_on_hyphens=False)), soft_wrap=True)
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), collapse_padding=True, pad_edge=False, show_edge=False)
    for at, name in enumerate(MODEL_HEADINGS):
        table.add_column(name, justify="left" if at in MODEL_TEXTS else "right", overflow="fold", no_wrap=at not in {0, 6})
    shown = card.models if every_model or not console.is_terminal else card.models[:MOST_MODELS]
    for model in shown:
        name, verdict, *cells = _model_cells(model)
        table.add_row(plain(name), Text(verdict, style=STYLES.get(verdict, "")), *cells)
    console.print(table, soft_wrap=not console.is_terminal)
    if left := len(card.models) - len(shown):
        console.print(f"{left} more models that need less attention: --all prints them")
    console.print()
    console.print(summary(card), highlight=False)


def summary(card: Scorecard) -> str:
    """Return a card in one line."""
    states = Counter(each.state for _, each in card.changes())
    outcomes = sum((model.counts() for model in card.models), Counter[Outcome]())
    found = [f"{outcomes[each]} {each}" for each in SEVERITY if outcomes[each] and each in RANKS]
    changed = [f"{states[each]} {each}" for each in STATES if states[each] and each != "same"]
    return (
        f"{_number(len(card.models), 'model')}: {', '.join(found) or 'nothing was checked'}; {', '.join(changed) or 'no change'}"
    )


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _lines(card: Scorecard) -> Iterator[str]:
    listed = list(_listed(card))
    yield from (
        plain(f"{each.state if each.state != 'same' else 'failed'}: {where}: {sentence}")
        for where, sentence, each in listed[:MOST_LISTED]
    )
    if listed[MOST_LISTED:]:
        yield f"{len(listed) - MOST_LISTED} more are on the page"
    if listed:
        yield ""


def _listed(card: Scorecard) -> Iterator[tuple[str, str, ScoreChange]]:
    """Yield what needs attention, with where it is and a sentence: what became worse, what is gone, what failed."""
    for model, each in card.changes():
        if each.state in {"worse", "gone"} or each.now.outcome == "failed":
            was = f"{each.before.outcome} -> {each.now.outcome}: " if each.before and each.state != "same" else ""
            yield f"{model.name}: {each.now.format} on {each.now.target}", was + each.now.reason, each


def _verdict(model: ModelCard) -> Outcome:
    """Return the worst of what was measured of a model."""
    measured = [each for each in model.counts() if each in RANKS]
    return max(measured, key=lambda each: RANKS[each], default="not checked")


def _changed(model: ModelCard) -> str:
    if model.before is None:
        return "first report"
    states = Counter(each.state for each in model.scores)
    return ", ".join(f"{states[each]} {each}" for each in STATES if states[each] and each != "same") or "no"


def _passed(model: ModelCard) -> list[ScoreChange]:
    return [each for each in model.scores if each.now.outcome == "passed"]


def _smallest(model: ModelCard) -> int | None:
    return min((each.now.bytes for each in _passed(model) if each.now.bytes is not None), default=None)


def _fastest(model: ModelCard) -> float | None:
    return min((each.now.latency_ratio for each in _passed(model) if each.now.latency_ratio is not None), default=None)


def _model_cells(model: ModelCard) -> list[str]:
    counts = model.counts()
    measured = sum(counts[each] for each in RANKS)
    return [
        model.name,
        _verdict(model),
        f"{counts['passed']} of {measured}",
        str(counts["failed"]),
        size(_smallest(model)),
        times(_fastest(model)),
        _changed(model),
    ]


def scorecard_as_html(card: Scorecard) -> str:
    """Return a scorecard as a page, with a table of models and one of results that can be sorted."""
    listed = [(where, sentence) for where, sentence, _ in _listed(card)]
    states = Counter(each.state for _, each in card.changes())
    outcomes = sum((model.counts() for model in card.models), Counter[Outcome]())
    fields = {
        "models": card.models,
        "pictures": {},
        "verdict": summary(card),
        "shape": SIGNS[card.exit_status],
        "facts": {"Passed": outcomes["passed"], "Failed": outcomes["failed"], "Worse than before": states["worse"]},
        "listed": listed[:MOST_LISTED],
        "listed_heading": "Worse than before, or failed",
        "left_out": len(listed[MOST_LISTED:]),
        "model_table": _table("Every model", MODEL_HEADINGS, MODEL_TEXTS, [_model_case(model) for model in card.models]),
        "result_table": _table("Every result that was measured", RESULT_HEADINGS, RESULT_TEXTS, list(_result_cases(card))),
        "note": NOTE.replace("`", ""),
    }
    return page_template("scorecard.html").render(fields) + "\n"


def _table(label: str, headings: Sequence[str], texts: Sequence[int], cases: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return a table as the page's macro takes it."""
    return {"label": label, "headings": headings, "texts": texts, "cases": cases}


def _case(headings: Sequence[str], texts: Sequence[str], values: Sequence[object], grade: str) -> dict[str, Any]:
    cells = [
        {"label": label, "text": text, "value": "" if value is None else value}
        for label, text, value in zip(headings, texts, values, strict=True)
    ]
    return {"cells": cells, "grade": grade, "warnings": []}


def _grade(state: str) -> str:
    return {"worse": "poor", "gone": "fair", "better": "good"}.get(state, "")


def _model_case(model: ModelCard) -> dict[str, Any]:
    counts, texts = model.counts(), _model_cells(model)
    values = (texts[0], texts[1], counts["passed"], counts["failed"], _smallest(model), _fastest(model), texts[6])
    return _case(MODEL_HEADINGS, texts, values, _grade(model.state))


def _result_cases(card: Scorecard) -> Iterator[dict[str, Any]]:
    """Yield what was measured now or before, regressions first."""
    for model, each in card.changes():
        now, before = each.now, each.before
        if now.outcome not in RANKS and each.state == "same":
            continue
        was = ABSENT if before is None else _before(each)
        state = "" if each.state == "same" else each.state
        texts = (
            *(model.name, now.format, now.target, now.outcome, percent(now.agreement), percent(now.accuracy), size(now.bytes)),
            *(times(now.latency_ratio), was, state),
        )
        values = (*texts[:4], now.agreement, now.accuracy, now.bytes, now.latency_ratio, was, state)
        yield _case(RESULT_HEADINGS, texts, values, _grade(each.state))


def _before(change: ScoreChange) -> str:
    """Return what of a result was another before."""
    now, was = change.now, change.before
    if was is None or change.state == "same":
        return ""
    parts = [
        was.outcome if was.outcome != now.outcome else "",
        percent(was.agreement) if was.agreement != now.agreement else "",
        size(was.bytes) if was.bytes != now.bytes else "",
        times(was.latency_ratio) if was.latency_ratio != now.latency_ratio else "",
    ]
    return ", ".join(filter(None, parts)) or "another file"
