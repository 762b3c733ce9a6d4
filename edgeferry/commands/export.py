# SPDX-License-Identifier: Apache-2.0
"""Export a model, check its artifacts, report."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import typer

from edgeferry.commands.arguments import BUILD, Build, Checked, Formats, Model, Targets, config_of
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import model_build, progress, report_errors

if TYPE_CHECKING:
    from edgeferry.benchmarks.parity.rows import Report
    from edgeferry.models.config.spec import ModelSpec

PANEL = "Export and check"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for name, function in {
        "export-all": export_all,
        "export": export,
        "check": check,
        "report": report,
        "init": init,
        "validate": validate,
    }.items():
        app.command(name, cls=HelpCommand, rich_help_panel=PANEL)(function)


def export_all(model: Model, build: Build = BUILD, formats: Formats = None, targets: Targets = None) -> None:
    """Export to every format, check every artifact on every target here, print one table.

    What did not change is neither exported nor run again.
    """
    from edgeferry.benchmarks.parity.check import checked
    from edgeferry.exporters.export import export_all as export_formats

    with report_errors():
        spec = config_of(model)
        place = model_build(build, spec.name)
        with progress() as step:
            for each in export_formats(spec, place, tuple(formats or ()) or None, step):
                if each.rebuilt:
                    typer.echo(f"edgeferry: {each.format} {each.reason}", err=True)
            found = checked(spec, place, tuple(targets or ()), step, reuse=True)
    _finish(found, place)


def export(model: Model, build: Build = BUILD, formats: Formats = None) -> None:
    """Export a model; artifacts that are still right are kept."""
    from edgeferry.exporters.export import export_all as export_formats

    with report_errors():
        spec = config_of(model)
        with progress() as step:
            exports = export_formats(spec, model_build(build, spec.name), tuple(formats or ()) or None, step)
        for each in exports:
            typer.echo(f"{each.format}: {each.state}, {each.reason}")
        if any(each.state == "failed" for each in exports):
            raise typer.Exit(1)


def check(model: Checked, build: Build = BUILD, targets: Targets = None) -> None:
    """Check the artifacts that are there, each again; needs neither the exporters nor TensorFlow."""
    from edgeferry.benchmarks.parity.check import checked

    with report_errors():
        spec, place = _spec_and_build(model, build)
        with progress() as step:
            found = checked(spec, place, tuple(targets or ()), step, reuse=False)
    _finish(found, place)


def report(model: Checked, build: Build = BUILD) -> None:
    """Print the last table again and write the report's pages again."""
    from edgeferry.benchmarks.report.report import read_report

    with report_errors():
        _, place = _spec_and_build(model, build)
        last = read_report(place / "report.json")
    _finish(last, place, again=True)


def init(model: Model) -> None:
    """Write a starter config beside a Keras file and say what it assumes."""
    from edgeferry.models.config.starter import write_starter
    from edgeferry.models.system.child import call_quietly

    with report_errors():
        path, assumed = call_quietly(write_starter, Path(model))
        typer.echo(f"wrote {path}")
        for note in assumed:
            typer.echo(f"  assumed: {note}")


def validate(model: Model) -> None:
    """Check a config: the TOML file, the images it names, and the model's predictions for them; nothing is written."""
    from tempfile import TemporaryDirectory

    from edgeferry.models.reference import make_reference
    from edgeferry.models.system.child import call_quietly

    with report_errors(), TemporaryDirectory() as folder:
        spec = config_of(model)
        made = call_quietly(make_reference, spec, Path(folder) / "reference")
        typer.echo(
            f"{spec.name}: right on {made.accuracy:.1%} of {made.images} golden images; "
            f"{len(spec.labels)} classes, {made.output}; the config fits the model"
        )


def _spec_and_build(model: str, build: Path) -> "tuple[ModelSpec | None, Path]":
    """Return a model's config and build folder; of a build folder that is named itself there is no config."""
    if (Path(model) / "reference").is_dir():
        return None, Path(model).resolve()
    if Path(model).is_dir() and not (Path(model) / "saved_model.pb").exists():
        raise EdgeError(f"{model}: is no build folder (it holds no reference); export the model first with `make export-all`.")
    spec = config_of(model)
    return spec, model_build(build, spec.name)


def _is_written(found: "Report", place: Path) -> bool:
    """Say whether the report's files hold these very rows already."""
    from edgeferry.benchmarks.report.report import read_report

    try:
        last = read_report(place / "report.json")
    except EdgeError:
        return False
    return replace(last, created=found.created) == found and all((place / f"report.{form}").is_file() for form in ("html", "md"))


def _finish(found: "Report", place: Path, *, again: bool = False) -> NoReturn:
    from rich.console import Console

    from edgeferry.benchmarks.parity.rows import exit_status
    from edgeferry.benchmarks.report.report import write_report
    from edgeferry.benchmarks.report.terminal import print_table

    with report_errors():
        if again or not _is_written(found, place):
            write_report(found, place)
        print_table(found, Console())
        typer.echo(f"\n{place / 'report.html'}")
    raise typer.Exit(exit_status(found.rows))
