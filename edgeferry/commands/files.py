# SPDX-License-Identifier: Apache-2.0
"""Commands for single files: inspect, lint, compile."""

import json
from pathlib import Path
from typing import Annotated

import typer

from edgeferry.commands import compilation
from edgeferry.commands.arguments import Json
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import report_errors

PANEL = "Single files"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for function in (inspect, lint):
        app.command(cls=HelpCommand, rich_help_panel=PANEL)(function)
    app.command("compile", cls=HelpCommand, help=compilation.HELP, rich_help_panel=PANEL)(compilation.compile_)


def lint(
    file: Annotated[Path, typer.Argument(help="A .tflite file, or a Core ML package (.mlpackage).", show_default=False)],
    runtime: Annotated[
        str | None,
        typer.Option(
            "--for", help="For a .tflite file: edgetpu, litert-2.3, tflite-2.5, -2.7, -2.10 or -2.14.", show_default=False
        ),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Find what a runtime rejects in a file, computes wrongly, or leaves to the CPU, without running it.

    For a Core ML package: which operations may not run on the Neural Engine, by published lists.

    Exit status: 1 the file cannot be used there, 2 it cannot be read or the command was wrong.
    """
    if file.suffix == ".mlpackage":
        _lint_coreml(file, runtime, as_json=as_json)
    else:
        _lint_tflite(file, runtime, as_json=as_json)


def _lint_tflite(file: Path, runtime: str | None, *, as_json: bool) -> None:
    from edgeferry.exporters.lint.lint import lines
    from edgeferry.exporters.lint.lint import lint as findings_of
    from edgeferry.exporters.lint.runtimes import runtime_names

    with report_errors():
        if runtime is None:
            raise EdgeError(
                "EF-lint-runtime", f"--for is missing: name the runtime to check {file} for, one of {', '.join(runtime_names())}."
            )
        found = findings_of(file, runtime)
    for line in [json.dumps(found.as_json(), indent=2)] if as_json else lines(file, found):
        typer.echo(line)
    if found.errors:
        raise typer.Exit(1)


def _lint_coreml(file: Path, runtime: str | None, *, as_json: bool) -> None:
    from edgeferry.targets.coreml.placement import lines, placement

    with report_errors():
        if runtime is not None:
            raise EdgeError("EF-lint-runtime", f"--for {runtime} is for .tflite files; leave it out for a Core ML package.")
        found = placement(file)
    for line in [json.dumps(found.as_json(), indent=2)] if as_json else lines(file, found):
        typer.echo(line)


def inspect(
    file: Annotated[
        Path, typer.Argument(help="A TF Lite, Edge TPU, ONNX, Core ML or TensorFlow.js file, or the folder of any artifact.")
    ],
    parent: Annotated[
        Path | None,
        typer.Option(help="The int8 file that an Edge TPU file was compiled from. Default: the tflite-int8 artifact next to it."),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what a file holds: operations, inputs and outputs, constants, and facts of its kind.

    For an artifact of another kind: what its manifest records, and whether its files are unchanged.

    Exit status: 1 files are missing or changed, or a compiled file does not come from its parent; 2 it cannot be read.
    """
    from edgeferry.exporters.inspect.inspection import inspect as inspected
    from edgeferry.exporters.inspect.text import lines
    from edgeferry.exporters.readers.record import json_of

    with report_errors():
        found = inspected(file, parent)
    for line in [json.dumps(json_of(found, str(file)), indent=2)] if as_json else lines(str(file), found):
        typer.echo(line)
    if found.failed:
        raise typer.Exit(1)
