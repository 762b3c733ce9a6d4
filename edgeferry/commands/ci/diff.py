# SPDX-License-Identifier: Apache-2.0
"""The command that compares two builds."""

import json
from typing import Annotated

import typer

from edgeferry.commands.arguments import BUILD, Formats, Json, Targets, build_to_read
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.terminal import progress, report_errors

PANEL = "Export and check"


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(cls=HelpCommand, rich_help_panel=PANEL)(diff)


def diff(
    old: Annotated[str, typer.Argument(help="The older build folder, build/<model>.", show_default=False)],
    new: Annotated[str, typer.Argument(help="The newer build folder.", show_default=False)],
    formats: Formats = None,
    targets: Targets = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what changed between two builds of a classifier: after an upgrade of a converter, another option, new training.

    Runs the artifacts of both on the same golden images, by the runtimes of this machine, where their files differ. Shows the
    images in another class, the change of accuracy with an exact McNemar test, sizes, latencies, and the tools, options and
    sources that changed. Writes nothing.

    Exit status: 0 nothing is worse, 1 something is, 2 the builds cannot be compared.
    """
    from rich.console import Console

    from edgeferry.benchmarks.diff.run import diff as difference
    from edgeferry.benchmarks.parity.rows import cleaned
    from edgeferry.benchmarks.report.diff_text import print_diff
    from edgeferry.exporters.format import choose as choose_formats
    from edgeferry.targets.target import choose

    with report_errors():
        choose_formats(tuple(formats or ()))
        chosen = choose(tuple(targets or ()) or None)
        places = [build_to_read(each, BUILD)[1] for each in (old, new)]
        with progress() as step:
            found = difference(places[0], places[1], tuple(formats or ()), chosen, step)
    if as_json:
        typer.echo(json.dumps(cleaned(found.as_json()), indent=2))
    else:
        print_diff(found, Console())
    raise typer.Exit(found.exit_status)
