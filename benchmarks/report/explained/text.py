# SPDX-License-Identifier: Apache-2.0
"""An explanation as text for the terminal."""

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.explain.faulty import is_faulty
from edgeferry.benchmarks.explain.result import Explained, Explanation, LayerCost
from edgeferry.benchmarks.report.latency_text import PIPED_WIDTH
from edgeferry.benchmarks.report.words import ABSENT, difference, percent
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

# The layers that matter most are shown, in the order of the network.
LAYERS_SHOWN: Final = 16
TENSORS_SHOWN: Final = 5
COLUMNS: Final = (
    *("layers", "error\nin", "error\nadded", "precision\nadds", "alone\nchanges", "flips it\ncauses", "worst\nchannel"),
)
NOTE: Final = (
    "Errors are root mean squares in percent of the layer's own values. Added: the result against the Keras layers run on what "
    "the layer received. Alone changes: how far probabilities move on average, on the same images, where the Keras model has "
    "this error and no other. Flips it causes: the images with another class that have Keras's again without this error."
)


def print_explanation(found: Explanation, console: "Console") -> None:
    """Print what was found of every artifact."""
    from rich.text import Text

    width = console.width if console.is_terminal else max(console.width, PIPED_WIDTH)
    for result in found.results:
        for line in head(result):
            console.print(Text(textwrap.fill(line, width, subsequent_indent="     ", break_on_hyphens=False)), soft_wrap=True)
        if result.layers:
            console.print()
            console.print(_table(result))
        for line in notes(result):
            console.print(Text(textwrap.fill(line, width, subsequent_indent="  ", break_on_hyphens=False)), soft_wrap=True)
        console.print()
    if any(result.layers for result in found.results):
        console.print(Text(textwrap.fill(NOTE, width)), soft_wrap=True)


def head(result: Explained) -> Iterator[str]:
    """Yield the stage, the difference, and the suspects."""
    outcome = f", {result.outcome}" if result.outcome else ""
    yield f"{plain(result.format)} on {plain(result.target)}{outcome}: {result.stage}"
    if result.images:
        expected = result.expected_difference
        explains = "" if expected is None else f"; its precision explains {difference(expected)}"
        flips = f"{result.flips} of {result.images} images in another class"
        yield f"   mean difference {difference(result.difference)}{explains}; {flips}"
    for number, each in enumerate(result.suspects, 1):
        yield f"  {number}. {each.stage}: {plain(each.sentence)} ({percent(each.explained)} of the difference)"


def notes(result: Explained) -> Iterator[str]:
    """Yield what was not measured, and how the rest was."""
    if result.problem:
        yield f"layers were not compared: {plain(result.problem)}"
    if len(result.layers) > LAYERS_SHOWN:
        yield f"{len(result.layers) - LAYERS_SHOWN} more parts matter less; --json has all."
    if result.layers:
        kernels = "" if result.kernels == result.target else f", computed by {result.kernels}"
        yield f"Layers: {result.layer_images} golden images, those that differ most among them{kernels}."
    if result.unmatched_tensors:
        shown = ", ".join(plain(each) for each in result.unmatched_tensors[:TENSORS_SHOWN])
        more = len(result.unmatched_tensors) - TENSORS_SHOWN
        yield f"Tensors of the file that are no value of Keras's: {shown}{f' and {more} more' if more > 0 else ''}."


def shown_layers(layers: Sequence[LayerCost]) -> list[LayerCost]:
    """Return the layers that change probabilities most, in the order of the network."""
    ranked = sorted(range(len(layers)), key=lambda at: -max(layers[at].effect, layers[at].unexplained_effect))
    return [layers[at] for at in sorted(ranked[:LAYERS_SHOWN])]


def relative(value: float | None) -> str:
    """Return a relative error as a percentage."""
    if value is None:
        return ABSENT
    return "0" if value == 0 else f"{100 * value:.2f} %" if value >= 1e-4 else f"{100 * value:.0e} %"


def cells(cost: LayerCost) -> list[str]:
    """Return a layer's row."""
    worst = cost.worst_channels[0] if cost.worst_channels else None
    channel = ABSENT if worst is None or worst.share < 0.2 else f"{worst.channel} ({100 * worst.share:.0f} %)"
    flips = ABSENT if cost.flips_caused is None else percent(cost.flips_caused)
    errors = [relative(each) for each in (cost.error_in, cost.error_added, cost.error_expected)]
    return [plain(cost.name), *errors, difference(cost.effect), flips, channel]


def _table(result: Explained) -> "Table":
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), collapse_padding=True, pad_edge=False, show_edge=False)
    for name in COLUMNS:
        is_text = name == COLUMNS[0]
        table.add_column(name, justify="left" if is_text else "right", no_wrap=not is_text, overflow="fold")
    for cost in shown_layers(result.layers):
        table.add_row(*cells(cost), style="red" if is_faulty(cost) and cost.unexplained_effect > 0 else None)
    return table
