# SPDX-License-Identifier: Apache-2.0
"""``python -m exporters``: what a classifier can be exported to, and the export alone."""

from pathlib import Path
from typing import Annotated

import typer

from models.terminal import model_build, progress, told

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Export a classifier.")


@app.command(name="list")
def list_() -> None:
    """List the formats, and what is missing here to write them."""
    from rich.console import Console
    from rich.table import Table

    from exporters.format import formats

    table = Table("format", "what it is", "here")
    for form in formats().values():
        table.add_row(form.name, form.summary, form.missing() or "yes")
    Console().print(table)


@app.command()
def export(
    model: Annotated[Path, typer.Argument(help="A model's TOML file.")],
    build: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("build"),
    only: Annotated[
        list[str] | None, typer.Option("--format", help="A format; may be given more than once. Default: all.")
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
    runtime: Annotated[str, typer.Option("--for", help="edgetpu, tflite-2.5, tflite-2.7, tflite-2.14 or litert-2.3.")],
) -> None:
    """Say what a runtime will refuse of a TF Lite file or answer wrongly; status 1 where it is of no use there."""
    from exporters.lint import lines, lint

    with told():
        report = lint(file, runtime)
    for line in lines(file, report):
        typer.echo(line)
    if report.errors:
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
