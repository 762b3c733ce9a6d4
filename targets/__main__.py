# SPDX-License-Identifier: Apache-2.0
"""``python -m targets``: the places where artifacts run."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from models.terminal import told
from targets.target import targets

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The places where artifacts run.")


@app.command("list")
def list_targets() -> None:
    """Show every target, what it reads, and whether it can run here or why not."""
    table = Table(Column("target", no_wrap=True), "what it is", "reads", "here")
    for target in targets().values():
        table.add_row(target.name, target.summary, ", ".join(sorted(target.reads)), target.missing() or "yes")
    Console().print(table)


@app.command()
def serve(
    model: Annotated[Path, typer.Argument(help="A model's TOML file.")],
    build: Annotated[Path, typer.Option(help="Where it was exported to.")] = Path("build"),
    form: Annotated[str, typer.Option("--format", help="A TensorFlow.js format.")] = "tfjs-float32",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Default: any that is free.")] = 0,
    *,
    open_: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the default browser.")] = False,
) -> None:
    """Show a TensorFlow.js artifact in a page, on this machine alone, until Ctrl-C."""
    import webbrowser
    from contextlib import suppress
    from threading import Event

    from targets.serve import demo

    with told(), demo(model, build, form, port) as address:
        typer.echo(f"{address}\nCtrl-C ends it.")
        if open_:
            webbrowser.open(address)
        with suppress(KeyboardInterrupt):
            Event().wait()


@app.command("placement")
def tell_placement(
    path: Annotated[Path, typer.Argument(help="A Core ML package, as model.mlpackage.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, with a schema number.")] = False,
) -> None:
    """Say what of a Core ML package may leave the Neural Engine, by published lists; a 'may', on any machine."""
    import json

    from targets.placement import lines, placement

    with told():
        found = placement(path)
        typer.echo(json.dumps(found.as_json(), indent=2) if as_json else "\n".join(lines(path, found)))


@app.command("probe-ops")
def probe_operations(
    names: Annotated[
        list[str] | None, typer.Argument(help="Runtimes, as tflite-2.5. Default: all that are installed here.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the tables are written.")] = Path("exporters/op_versions"),
) -> None:
    """Ask runtimes for the highest version of every operation they accept, and write a table for each."""
    from models.files import write_json
    from models.registry import refuse_unknown
    from targets.probe_ops import NOT_INSTALLED, runtimes, table

    with told():
        refuse_unknown(names or (), runtimes(), "runtime")
        for name, runtime in runtimes().items():
            if names and name not in names:
                continue
            if not names and runtime.told() is None:
                typer.echo(f"{name}: not run, {NOT_INSTALLED.format(runtime.python)}")
                continue
            made = table(runtime)
            write_json(folder / f"{name}.json", made)
            typer.echo(f"{name}: {len(made['highest'])} operations of {made['runtime']}, in {folder / name}.json")


if __name__ == "__main__":
    app(prog_name="python -m targets")
