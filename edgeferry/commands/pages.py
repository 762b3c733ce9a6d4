# SPDX-License-Identifier: Apache-2.0
"""Web pages that a person opens."""

from typing import Annotated

import typer

from edgeferry.commands.arguments import BUILD, Build, Model, config_of
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.terminal import report_errors

PANEL = "Try it"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(cls=HelpCommand, rich_help_panel=PANEL)(demo)


def demo(
    model: Model,
    build: Build = BUILD,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="A TensorFlow.js format.")] = "tfjs-float32",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="PORT", help="The port; 0 takes any free one.")] = 0,
    *,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the default browser.")] = False,
) -> None:
    """Try a TensorFlow.js artifact in the browser.

    Serves a page, to this machine only, that classifies a drawing or an image file and shows the golden images with the Keras
    model's predictions next to the artifact's. Ctrl-C ends it.
    """
    import webbrowser
    from contextlib import suppress
    from threading import Event

    from edgeferry.targets.web.serve import demo as served

    with report_errors(), served(config_of(model, build), build, form, port) as address:
        typer.echo(f"{address}\nCtrl-C ends it.")
        if open_:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):
            Event().wait()
