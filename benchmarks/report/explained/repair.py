# SPDX-License-Identifier: Apache-2.0
"""A search for a repair as text for the terminal: what is proven, the frontier, and what to write."""

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.fix.result import Candidate, Fixed, Half, Trial, frontier
from edgeferry.benchmarks.report.latency_text import PIPED_WIDTH
from edgeferry.benchmarks.report.words import ABSENT, difference, milliseconds, percent, size
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

COLUMNS: Final = ("change", "size", "latency", "agree-\nment", "at\nleast", "mean\ndiff.", "other half", "")
NOTE: Final = (
    "Agreement and mean difference are of the half of the golden images that candidates were chosen by; the other half was asked "
    "of no candidate but those that it judged. Latency is the median of 30 calls, for information."
)


def print_fixed(found: Fixed, console: "Console") -> None:
    """Print what is proven, what was tried, and what to write into the config."""
    from rich.text import Text

    width = console.width if console.is_terminal else max(console.width, PIPED_WIDTH)
    console.print(Text(textwrap.fill(summary(found), width)), soft_wrap=True)
    console.print()
    console.print(_table(found))
    for line in (*notes(found), NOTE):
        console.print(Text(textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False)), soft_wrap=True)
    if found.best:
        console.print(f"\n[export.{found.format}]\n" + "\n".join(found.lines), markup=False)


def summary(found: Fixed) -> str:
    """Return what the search came to."""
    first = found.trials[0]
    name = f"{found.format} on {found.target}"
    if found.best == 0:
        return f"{name} passes as it is, on both halves of the golden images."
    if found.best is not None:
        best = found.trials[found.best]
        whole = found.float_bytes
        way = percent((best.bytes - first.bytes) / (whole - first.bytes)) if whole is not None and whole > first.bytes else ""
        grown = f"{size(first.bytes)} becomes {size(best.bytes)}{f', {way} of the way to float' if way else ''}"
        return f"{name} passes with {_kept(best.candidate)}; {grown}. Proven on images that it was not chosen by."
    if any(trial.passes for trial in found.trials):
        return (
            f"{name}: {found.proofs} changes pass on one half of the golden images, none of them on the other. Nothing is proven."
        )
    why = "" if found.is_finished else " in the time; --seconds gives more, and goes on from here"
    return f"{name}: no change that was tried passes{why}."


def notes(found: Fixed) -> Iterator[str]:
    """Yield what else there is to know."""
    failed = [trial for trial in found.trials if trial.problem]
    if failed:
        yield f"{len(failed)} candidates could not be tried: {plain(failed[0].problem)}"
    if not found.is_finished and found.best is not None:
        yield "The time ended before everything was tried; the same command goes on from here."
    if found.proofs > 1:
        yield f"{found.proofs} candidates were held against the other half, the smallest first."


def _table(found: Fixed) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), collapse_padding=True, pad_edge=False, show_edge=False)
    for name in COLUMNS:
        is_text = name in {COLUMNS[0], COLUMNS[-1], COLUMNS[-2]}
        table.add_column(name, justify="left" if is_text else "right", no_wrap=name != COLUMNS[0], overflow="fold")
    best = set(frontier(found.trials))
    for at in sorted(range(len(found.trials)), key=lambda at: (found.trials[at].bytes, at)):
        trial = found.trials[at]
        if not trial.problem:
            mark = "proven" if at == found.best else "as it is" if at == 0 else "frontier" if at in best else ""
            table.add_row(*_cells(trial), mark, style="green" if at == found.best else None)
    return table


def _cells(trial: Trial) -> list[str]:
    half = trial.chosen or Half("failed", "", 0, None, None, None)
    proof = trial.proof.outcome if trial.proof else ABSENT
    measured = [size(trial.bytes), milliseconds(trial.latency_ms), percent(half.agreement), percent(half.at_least)]
    return [_kept(trial.candidate), *measured, difference(half.mean_difference), proof]


def _kept(candidate: Candidate) -> str:
    dense = "" if candidate.dense == "per-tensor" else f"Dense {candidate.dense}"
    names = ", ".join(map(plain, candidate.keep_float[:4]))
    more = f" and {len(candidate.keep_float) - 4} more" if len(candidate.keep_float) > 4 else ""
    return "; ".join(filter(None, (names + more and f"{names}{more} in float", dense))) or "every layer in integers"
