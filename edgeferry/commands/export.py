# SPDX-License-Identifier: Apache-2.0
"""The commands that export a model, check its artifacts and report."""

import shlex
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from edgeferry.commands.arguments import (
    BUILD,
    Build,
    Checked,
    CustomModule,
    EveryRow,
    Formats,
    Images,
    Model,
    ModelFile,
    Required,
    Targets,
    Wait,
    build_to_read,
    code_of,
    config_to_export,
    config_to_load,
    note,
    note_findings,
)
from edgeferry.commands.ci.reports import CiFiles, show_on_github, with_ci_files, write_ci_files
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import model_build, progress, report_errors
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeferry.benchmarks.parity.rows import Report

PANEL = "Export and check"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    commands: dict[str, Callable[..., None]] = {
        "export-all": with_ci_files(export_all),
        "export": export,
        "check": with_ci_files(check),
        "report": with_ci_files(report),
        "init": init,
        "validate": validate,
    }
    for name, function in commands.items():
        app.command(name, cls=HelpCommand, rich_help_panel=PANEL)(function)


def export_all(  # noqa: PLR0913, PLR0917 - an argument per option
    model: Model,
    images: Images = None,
    build: Build = BUILD,
    formats: Formats = None,
    targets: Targets = None,
    required: Required = None,
    custom_module: CustomModule = None,
    *,
    wait: Wait = False,
    every_row: EveryRow = False,
    ci_files: CiFiles,
) -> None:
    """Export a model to every format and check every artifact.

    Prints one table and writes report.html, report.md and report.json to the build folder. An artifact is exported again, and a
    check is run again, only where something changed; with --format or --target the other results stay in the report. Status 1: a
    check failed, or what is required did not pass; 2: nothing could be checked.
    """
    from edgeferry.benchmarks.parity.check import Scope, checked, refuse_unknown_scope
    from edgeferry.exporters.export import export_all as export_formats
    from edgeferry.models.reference import REFERENCE, findings_in
    from edgeferry.models.system.process.owner import owned

    with report_errors():
        spec = config_to_export(model, build, images, required, custom_module)
        place = model_build(build, spec.name)
        asked = Scope(tuple(formats or ()), tuple(targets or ()), tuple(required or ()), spec.code)
        refuse_unknown_scope(spec, asked)
        with progress() as step, owned(place, step, wait=wait):
            exports = export_formats(spec, place, tuple(formats or ()) or None, step)
            note_findings(findings_in(place / REFERENCE))
            for each in exports:
                if each.rebuilt:
                    note(f"{each.format} {each.reason}")
            found = checked(spec, place, asked, step, reuse=True)
            write_found(found, place)
        write_ci_files(found, place, ci_files)
    _finish(found, place, every_row=every_row)


def export(  # noqa: PLR0913 - an argument per option
    model: Model,
    images: Images = None,
    build: Build = BUILD,
    formats: Formats = None,
    custom_module: CustomModule = None,
    *,
    wait: Wait = False,
) -> None:
    """Export a model, without checking its artifacts.

    Artifacts that are up to date are kept. Status 1: an export failed.
    """
    from edgeferry.exporters.export import export_all as export_formats
    from edgeferry.models.reference import REFERENCE, findings_in
    from edgeferry.models.system.process.owner import owned

    with report_errors():
        spec = config_to_export(model, build, images, custom_module=custom_module)
        place = model_build(build, spec.name)
        with progress() as step, owned(place, step, wait=wait):
            exports = export_formats(spec, place, tuple(formats or ()) or None, step)
        note_findings(findings_in(place / REFERENCE))
        for each in exports:
            typer.echo(plain(f"{each.format}: {each.state}, {each.reason}"))
        if any(each.state == "failed" for each in exports):
            raise typer.Exit(1)


def check(  # noqa: PLR0913, PLR0917 - an argument per option
    model: Checked,
    build: Build = BUILD,
    formats: Formats = None,
    targets: Targets = None,
    required: Required = None,
    custom_module: CustomModule = None,
    *,
    wait: Wait = False,
    every_row: EveryRow = False,
    ci_files: CiFiles,
) -> None:
    """Check the exported artifacts again, without TensorFlow.

    Runs every artifact in the build folder on every target that is available here, also where nothing changed, and compares its
    predictions with the Keras model's. Needs the build folder alone, not the model. A bundle (`edgeferry bundle`) is unpacked to
    the folder of --build, and run again only where it, the runtime or edgeferry changed. Status 1: a check failed, or what is
    required did not pass; 2: nothing could be checked.
    """
    from edgeferry.benchmarks.parity.check import Scope, checked
    from edgeferry.models.bundle.content import required_in
    from edgeferry.models.system.process.owner import owned

    with report_errors():
        spec, place = build_to_read(model, build)
        is_bundle = spec is None and not Path(model).expanduser().is_dir()
        needed = (*(required_in(place) if is_bundle else ()), *(required or ()))
        asked = Scope(tuple(formats or ()), tuple(targets or ()), needed, code_of(custom_module))
        with progress() as step, owned(place, step, wait=wait):
            found = checked(spec, place, asked, step, reuse=is_bundle)
            write_found(found, place)
        write_ci_files(found, place, ci_files)
    _finish(found, place, every_row=every_row)


def report(model: Checked, build: Build = BUILD, *, every_row: EveryRow = False, ci_files: CiFiles) -> None:
    """Print the last report again and rewrite its files.

    Nothing is exported or checked: the table is that of the last `export-all` or `check`. Writes report.html, report.md and
    report.json to the build folder, and ends with the same status as the command that made the report.
    """
    from edgeferry.benchmarks.report.report import read_report

    with report_errors():
        _, place = build_to_read(model, build)
        last = read_report(place / "report.json")
        try:
            write_found(last, place, again=True)
        except EdgeError as error:
            note(f"{error} The table below is the last report's all the same. ({error.code})")
        write_ci_files(last, place, ci_files)
    _finish(last, place, every_row=every_row)


def init(
    model: ModelFile,
    images: Images = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The model's labels in its order: one per line ('0 cat' too), or JSON. Default: those of the images' folders.",
        ),
    ] = None,
    custom_module: CustomModule = None,
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace a config that is there.")] = False,
) -> None:
    """Write a config next to a model.

    With --images the config works as it is: labels are those of the folders, golden and calibration images are chosen, and how
    images are prepared is read off the model or found by what it predicts for them. Without, it is a starter to edit. What is
    assumed is printed, and stands in the config.
    """
    from edgeferry.models.config.starter import write_starter
    from edgeferry.models.config.teachable_machine import is_archive, unpacked
    from edgeferry.models.starting.from_photographs import write_config
    from edgeferry.models.system.child import call_quietly

    with report_errors():
        if labels is not None and images is None:
            raise EdgeError("EF-init-labels", "--labels needs --images; without images, name the file in the starter config.")
        code = code_of(custom_module)
        named = Path(model).expanduser()
        place = named.parent.resolve() / named.name
        place = unpacked(place) if is_archive(place) else place
        if images is None:
            path, assumed = call_quietly(partial(write_starter, place, replaces=force, code=code))
            _note_starter(
                path, assumed, f"edit it, or write one that works with `edgeferry init {model} --images FOLDER --force`"
            )
            return
        with progress() as step:
            step(f"looking at the photographs in {images}, and at what the model predicts for them")
            folder = images.expanduser().resolve()
            path, assumed = call_quietly(
                partial(write_config, place, folder, labels and labels.expanduser().absolute(), replaces=force, code=code)
            )
        _note_starter(path, assumed, f"next: edgeferry export-all {path}{_option_of(code)}")


def _option_of(code: str | None) -> str:
    from edgeferry.models.loading.custom_module import OPTION

    return "" if code is None else f" {OPTION} {shlex.quote(code)}"


def _note_starter(path: Path, assumed: tuple[str, ...], next_: str) -> None:
    typer.echo(f"starter written: {path}")
    for each in assumed:
        typer.echo(plain(f"  assumed: {each}"))
    typer.echo(next_)


def validate(model: Model, custom_module: CustomModule = None) -> None:
    """Check a config, its images and its model; write nothing.

    Reads the TOML file and the images it names, and compares the Keras model's predictions with the labels of the golden images.
    """
    from tempfile import TemporaryDirectory

    from edgeferry.models.golden.reference_writer import make_reference
    from edgeferry.models.reference import REFERENCE
    from edgeferry.models.system.child import call_quietly

    with report_errors(), TemporaryDirectory() as folder:
        spec = config_to_load(model, BUILD, None, custom_module)
        made = call_quietly(make_reference, spec, Path(folder) / REFERENCE)
        note_findings(made.findings, notes=True)
        known = made.accuracy is not None
        right = f"the model is right on {made.accuracy:.1%} of" if known else "the model's accuracy is unknown, no labels on"
        fits = "the config fits the model" if known else "whether the config fits the model is unknown"
        found = f"{spec.name}: {right} {made.images} golden images; {len(spec.labels)} classes, {made.output}; {fits}"
        typer.echo(plain(found))


def _is_written(found: "Report", place: Path) -> bool:
    """Return whether the report's files hold exactly these rows already."""
    from edgeferry.benchmarks.report.report import read_report

    try:
        last = read_report(place / "report.json")
    except EdgeError:
        return False
    return replace(last, created=found.created) == found and all((place / f"report.{form}").is_file() for form in ("html", "md"))


def write_found(found: "Report", place: Path, *, again: bool = False) -> None:
    """Write a report's files to a build folder, and a line of its audit trail; nothing where they are there already."""
    from edgeferry.benchmarks.certificate.log import append_event
    from edgeferry.benchmarks.parity.rows import exit_status
    from edgeferry.benchmarks.report.report import write_report
    from edgeferry.models.system.files import sha256_of

    if again or not _is_written(found, place):
        write_report(found, place)
        if not again:
            append_event(place, "checked", sha256_of(place / "report.json"), exit_status(found.rows, found.unmet))


def _finish(found: "Report", place: Path, *, every_row: bool) -> NoReturn:
    from rich.console import Console

    from edgeferry.benchmarks.parity.rows import exit_status
    from edgeferry.benchmarks.report.terminal import print_table

    print_table(found, Console(), every_row=every_row)
    show_on_github(found)
    typer.echo(f"\n{place / 'report.html'}")
    raise typer.Exit(exit_status(found.rows, found.unmet))
