# SPDX-License-Identifier: Apache-2.0
"""``python -m exporters``: what a classifier can be exported to, and the export alone."""

from pathlib import Path
from typing import Annotated

import typer

from exporters import compile as compile_command
from models.terminal import model_build, progress, told

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Export a classifier.")
app.command(name="compile", help=compile_command.HELP)(compile_command.compile_)


@app.command(name="list")
def list_() -> None:
    """List the formats, and what is missing here to write them."""
    from rich.console import Console
    from rich.table import Table

    from exporters.format import formats

    table = Table("format", "what it is", "here")
    for form in formats().values():
        table.add_row(form.name, form.summary, form.missing() or ("yes" if form.asked_by_default else "yes, when named"))
    Console().print(table)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A model's TOML file.")],
    build: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("build"),
    only: Annotated[
        list[str] | None,
        typer.Option("--format", help="A format; may be given more than once. Default: all but those to be named."),
    ] = None,
) -> None:
    """Export a classifier; artifacts that are still right are kept."""
    from exporters.export import export_all
    from models.spec import read_spec

    with told():
        spec = read_spec(model)
        with progress() as step:
            exports = export_all(spec, model_build(build, spec.name), tuple(only) if only else None, step)
        for each in exports:
            typer.echo(f"{each.format}: {each.state}, {each.reason}")
        if any(each.state == "failed" for each in exports):
            raise typer.Exit(1)


@app.command(name="lint")
def lint_(
    file: Annotated[Path, typer.Argument(help="A .tflite file.")],
    runtime: Annotated[str, typer.Option("--for", help="edgetpu, litert-2.3, tflite-2.5, -2.7, -2.10 or -2.14.")],
) -> None:
    """Say what a runtime will refuse of a TF Lite file or answer wrongly; status 1 where it is of no use there."""
    from exporters.lint import lines, lint

    with told():
        report = lint(file, runtime)
    for line in lines(file, report):
        typer.echo(line)
    if report.errors:
        raise typer.Exit(1)


@app.command(name="inspect")
def inspect_(
    file: Annotated[
        Path, typer.Argument(help="A TF Lite, compiled Edge TPU, ONNX, Core ML or TensorFlow.js file, or an artifact.")
    ],
    parent: Annotated[
        Path | None,
        typer.Option(help="The int8 file that a compiled one comes from. Default: the tflite-int8 artifact beside it."),
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")] = False,
) -> None:
    """Say what a file holds; status 1 where it is not whole, or was not compiled from its parent."""
    import json

    from exporters.inspection import inspect
    from exporters.inspection_record import json_of
    from exporters.inspection_text import lines

    with told():
        found = inspect(file, parent)
    for line in [json.dumps(json_of(found, str(file)), indent=2)] if as_json else lines(str(file), found):
        typer.echo(line)
    if found.failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
