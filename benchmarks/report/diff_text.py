# SPDX-License-Identifier: Apache-2.0
"""A comparison of two builds as text for the terminal."""

import textwrap
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.diff.result import BuildDiff, Change, DiffState, ResultDiff
from edgeferry.benchmarks.parity.rows import NO_TARGET
from edgeferry.benchmarks.report.flips import class_name
from edgeferry.benchmarks.report.latency_text import PIPED_WIDTH
from edgeferry.benchmarks.report.words import ABSENT, difference, size, times
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

STYLES: Final[dict[DiffState, str]] = {
    "worse": "bold red",
    "better": "green",
    "changed": "magenta",
    "same": "green",
    "not compared": "yellow",
}
COLUMNS: Final = ("format\n  target", "size", "flips", "accuracy", "mean\ndiff.", "latency", "verdict")
FLIPS_SHOWN: Final = 6
NOTE: Final = (
    "Flips are images in another class than before. Latency is the new median of 30 calls as a multiple of the old one, for "
    "information; `edgeferry compare` measures it."
)


def print_diff(found: BuildDiff, console: "Console") -> None:
    """Print both builds, a table, the reasons, what else changed, and one line that sums up."""
    from rich.text import Text

    width = console.width if console.is_terminal else max(console.width, PIPED_WIDTH)
    for line in _head(found):
        console.print(Text(line), soft_wrap=True)
    console.print()
    if found.results:
        table = _table(found)
        table.width = min(int(console.measure(table, options=console.options.update(max_width=10 * width)).maximum), width)
        console.print(table, soft_wrap=True)
        console.print()
    for line in (*_reasons(found), *_changes(found.changes), *_only(found), NOTE, _summary(found)):
        room = width if console.is_terminal else len(line) + 1
        console.print(Text(textwrap.fill(line, room, subsequent_indent="    ", break_on_hyphens=False)), soft_wrap=True)


def _head(found: BuildDiff) -> Iterator[str]:
    yield f"old  {plain(found.old)}"
    yield f"new  {plain(found.new)}"
    model = "the same Keras model" if found.same_model else "another Keras model"
    images = (
        "the same golden images" if found.same_golden_images else "other golden images; both are compared on those of the new one"
    )
    yield f"{model}, {images} ({found.images})"


def _table(found: BuildDiff) -> "Table":
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), collapse_padding=True, pad_edge=False, show_edge=False)
    for name in COLUMNS:
        is_text = name in {COLUMNS[0], COLUMNS[-1]}
        table.add_column(name, justify="left" if is_text else "right", no_wrap=True, overflow="fold")
    for form, group in groupby(found.results, key=lambda each: each.format):
        ours = list(group)
        own = next((each for each in ours if each.target == NO_TARGET), None)
        state = [Text(own.state, style=STYLES[own.state])] if own else []
        sized = next((each for each in ours if each.old_bytes is not None), ours[0])
        table.add_row(plain(form), _sizes(sized), *[""] * 4, *state)
        for each in ours:
            if each.target != NO_TARGET:
                table.add_row(f"  {plain(each.target)}", "", *_cells(each), Text(each.state, style=STYLES[each.state]))
    return table


def _sizes(result: ResultDiff) -> str:
    if result.old_bytes is None or result.new_bytes is None:
        return ABSENT
    change = 100 * (result.new_bytes / result.old_bytes - 1) if result.old_bytes else 0.0
    return size(result.new_bytes) if result.old_bytes == result.new_bytes else f"{size(result.new_bytes)} {change:+.1f} %"


def _cells(result: ResultDiff) -> list[str]:
    found = result.answers
    if found is None:
        return [""] * 4
    change = 100 * (found.new_right - found.old_right) / found.judged if found.truth == "labels" and found.judged else None
    accuracy = ABSENT if change is None else f"{change:+.1f} pt" if change else "0"
    return [f"{found.flipped}/{found.images}", accuracy, difference(found.mean_difference), times(result.latency_ratio)]


def _reasons(found: BuildDiff) -> Iterator[str]:
    """Yield why each result is what it is, those that are worse first; what is the same needs no reason."""
    for state in ("worse", "better", "changed", "not compared"):
        grouped: dict[tuple[str, str], list[str]] = {}
        for each in found.results:
            if each.state == state:
                grouped.setdefault((each.target, _sentence(each, found.labels)), []).append(plain(each.format))
        for (target, sentence), names in grouped.items():
            yield f"{state}: {', '.join(names)}{'' if target == NO_TARGET else f' on {plain(target)}'}: {sentence}"


def _sentence(result: ResultDiff, labels: Sequence[str]) -> str:
    chance = "" if result.chance is None or result.state != "worse" else f" (McNemar, exact: p = {result.chance:.2g})"
    flips = result.answers.flips if result.answers else ()
    shown = [f"{each.image} ({class_name(labels, each.old)} -> {class_name(labels, each.new)})" for each in flips[:FLIPS_SHOWN]]
    more = result.answers.flipped - len(shown) if result.answers else 0
    return plain(result.reason) + chance + (f"; images {', '.join(shown)}{f' and {more} more' if more else ''}" if shown else "")


def _changes(changes: Sequence[Change]) -> Iterator[str]:
    """Yield each change once, with the formats that share it."""
    grouped: dict[tuple[str, str, str], list[str]] = {}
    for each in changes:
        grouped.setdefault((each.what, each.old, each.new), []).append(each.format)
    for (what, old, new), names in grouped.items():
        yield plain(f"{what}: {old or 'empty'} -> {new or 'empty'} ({', '.join(names)})")


def _only(found: BuildDiff) -> Iterator[str]:
    for which, names in (("old", found.only_old), ("new", found.only_new)):
        if names:
            yield f"exported in the {which} one alone: {', '.join(map(plain, names))}"


def _summary(found: BuildDiff) -> str:
    return ", ".join(f"{count} {state}" for state, count in found.counts.items()) or "nothing was compared"
