# SPDX-License-Identifier: Apache-2.0
"""The command that compares new images with those that the artifacts were checked on."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeferry.commands.arguments import BUILD, Build, Checked, build_to_read
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.terminal import report_errors
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from edgeferry.benchmarks.drift.run import Drift

PANEL = "Export and check"


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(cls=HelpCommand, rich_help_panel=PANEL)(drift)


def drift(
    model: Checked,
    images: Annotated[
        Path,
        typer.Option("--images", metavar="PLACE", help="The new images: a folder, a list or an .npz file.", show_default=False),
    ],
    build: Build = BUILD,
    form: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help="The artifact that answers. Default: the most exact one.")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Compare new images, of a camera in use, with the golden images: how they look, and how the classifier answers them.

    Permutation tests of brightness, contrast, sharpness, colour, confidence, entropy and labels; all together call one of a
    hundred sets of unchanged images drifted at most. Needs no labels. Status 1: something has drifted.
    """
    from edgeferry.benchmarks.drift.run import drift_of

    with report_errors():
        _, place = build_to_read(model, build)
        found = drift_of(place, images, form)
    if as_json:
        typer.echo(found.as_json())
    else:
        _print(found)
    raise typer.Exit(1 if found.drifted else 0)


def _print(found: "Drift") -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("feature", "golden", "new", "by chance", "", box=None, pad_edge=False, header_style="bold")
    for each in found.comparisons:
        name = each.feature if each.label is None else f"{each.feature}: {plain(found.labels[each.label])}"
        chance = f"{each.chance:.4f}" if each.chance >= 0.001 else "< 0.001"
        table.add_row(name, f"{each.before:.3g}", f"{each.now:.3g}", chance, "drifted" if each.has_drifted else "")
    console = Console()
    console.print(table)
    names = ", ".join(each.feature for each in found.drifted)
    verdict = f"drifted: {names}" if names else "no drift shown"
    about = f"{found.new} new images, {found.golden} golden ones, answered by {found.format} on {found.target}: {verdict}"
    console.print(plain(about), highlight=False, markup=False, soft_wrap=True)
