# SPDX-License-Identifier: Apache-2.0
"""Pages a person can open."""

from pathlib import Path
from typing import Annotated

import typer

from edgeferry.commands.arguments import BUILD, config_of
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.terminal import report_errors

PANEL = "Try it"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(cls=HelpCommand, rich_help_panel=PANEL)(demo)


def demo(
    model: Annotated[str, typer.Argument(help="A model's TOML file, or a Keras file (.keras, .h5).", show_default=False)],
    build: Annotated[Path, typer.Option(help="Where it was exported to.")] = BUILD,
    form: Annotated[str, typer.Option("--format", help="A TensorFlow.js format.")] = "tfjs-float32",
    port: Annotated[int, typer.Option(min=0, max=65535, help="The port; 0 takes any that is free.")] = 0,
    *,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the default browser.")] = False,
) -> None:
    """Show a TensorFlow.js artifact in a page beside the Keras model's predictions, on this machine alone, until Ctrl-C."""
    import webbrowser
    from contextlib import suppress
    from threading import Event

    from edgeferry.targets.web.serve import demo as served

    with report_errors(), served(config_of(model), build, form, port) as address:
        typer.echo(f"{address}\nCtrl-C ends it.")
        if open_:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):
            Event().wait()
