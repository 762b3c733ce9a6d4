# SPDX-License-Identifier: Apache-2.0
"""Commands for the development of edgeferry itself."""

from pathlib import Path
from typing import Annotated

import typer

from edgeferry.commands.arguments import config_of
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import progress, report_errors

PANEL = "Development of edgeferry"
DIGITS = "models/digits.toml"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    app.command(cls=HelpCommand, rich_help_panel=PANEL)(train)
    app.command("probe-ops", cls=HelpCommand, rich_help_panel=PANEL)(probe_ops)


def train(model: Annotated[str, typer.Argument(metavar="MODEL", help="A config with model.trained_by.")] = DIGITS) -> None:
    """Train a classifier that edgeferry itself contains.

    The model and its images are written to the folder that the config names.
    """
    from importlib import import_module

    with report_errors():
        spec = config_of(model)
        if spec.trained_by is None:
            raise EdgeError(
                "EF-model-not-trainable", f"{spec.path}: has no model.trained_by, so edgeferry cannot train its model."
            )
        with progress() as step:
            import_module(spec.trained_by).train(spec, lambda done, total: step(f"training {spec.name}: epoch {done} of {total}"))
        typer.echo(f"wrote {spec.model}")


def probe_ops(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUNTIME", help="Runtimes, such as tflite-2.5. Default: all that are installed.", show_default=False
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where the tables are written. Default: where `lint` reads them.")
    ] = None,
) -> None:
    """Find the operation versions that TF Lite runtimes accept.

    Writes one table per runtime, with the highest version of every TF Lite operation that it accepts; `lint` reads them.
    """
    from edgeferry.models.system.files import write_json
    from edgeferry.models.system.places import ROOT
    from edgeferry.models.system.registry import refuse_unknown
    from edgeferry.targets.boards.probe_ops import NOT_INSTALLED, runtimes, table

    place = folder or ROOT / "exporters" / "lint" / "op_versions"
    with report_errors():
        refuse_unknown(names or (), runtimes(), "runtime")
        for name, runtime in runtimes().items():
            if names and name not in names:
                continue
            if not names and runtime.installed() is None:
                typer.echo(f"{name}: not run, {NOT_INSTALLED.format(runtime.python)}")
                continue
            made = table(runtime)
            write_json(place / f"{name}.json", made)
            typer.echo(f"{name}: {len(made['highest'])} operations of {made['runtime']}, written to {place / name}.json")
