# SPDX-License-Identifier: Apache-2.0
"""``python -m models``: look at a classifier and its contract."""

from pathlib import Path
from typing import Annotated

import typer

from models.spec import ModelSpec, read_spec
from models.terminal import model_build, progress, told

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look at a classifier and its contract.")
Model = Annotated[Path, typer.Argument(help="A model's TOML file, or a .keras file.")]
Build = Annotated[Path, typer.Option(help="Where everything is written.")]


@app.command()
def init(model: Model) -> None:
    """Write a starter contract beside a .keras file and say what it assumes."""
    from models.child import call_quietly
    from models.starter import write_starter

    with told():
        path, assumed = call_quietly(write_starter, model)
        typer.echo(f"wrote {path}")
        for note in assumed:
            typer.echo(f"  assumed: {note}")


@app.command()
def check(model: Model) -> None:
    """Check a contract: the TOML file, the images it names, and what the model answers to them; nothing is written."""
    from tempfile import TemporaryDirectory

    with told(), TemporaryDirectory() as folder:
        spec = read_spec(model)
        typer.echo(f"{_asked(spec, Path(folder) / 'reference')}; the contract fits the model")


@app.command()
def train(model: Model = Path("models/digits.toml")) -> None:
    """Train a classifier that the project itself brings; it is written where its contract says."""
    with told():
        spec = read_spec(model)
        _train(spec)
        typer.echo(f"wrote {spec.model}")


@app.command()
def reference(model: Model, build: Build = Path("build")) -> None:
    """Ask the original about its golden images and keep the answers."""
    with told():
        spec = read_spec(model)
        typer.echo(_asked(spec, model_build(build, spec.name) / "reference"))


def _asked(spec: ModelSpec, folder: Path) -> str:
    """Return what the original answers to its golden images, as a sentence."""
    from models.child import call_quietly
    from models.reference import make_reference

    made = call_quietly(make_reference, spec, folder)
    return f"{spec.name}: right on {made.accuracy:.1%} of {made.images} golden images; {len(spec.labels)} classes, {made.output}"


def _train(spec: ModelSpec) -> None:
    from importlib import import_module

    from models.errors import EdgeError

    if spec.trained_by is None:
        raise EdgeError(f"{spec.path}: has no model.trained_by; its model is trained elsewhere.")
    with progress() as step:
        import_module(spec.trained_by).train(spec, lambda done, total: step(f"training {spec.name}: epoch {done} of {total}"))


if __name__ == "__main__":
    app()
