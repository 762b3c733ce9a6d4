# SPDX-License-Identifier: Apache-2.0
"""The commands that say which stage and which layer an artifact's difference comes from, and that search for a repair."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeferry.commands.arguments import BUILD, Build, Json, Wait, build_to_read
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Exit, progress, report_errors

if TYPE_CHECKING:
    from edgeferry.benchmarks.explain.result import Explanation
    from edgeferry.benchmarks.fix.result import Fixed
    from edgeferry.models.config.spec import ModelSpec

PANEL = "Export and check"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for each in (explain, fix):
        app.command(cls=HelpCommand, rich_help_panel=PANEL)(each)


def explain(  # noqa: PLR0913 - an argument per option
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The model's build folder (build/my) or config (.toml).", show_default=False)
    ],
    build: Build = BUILD,
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", metavar="FORMAT", help="A format; repeat for several. Default: those that failed."),
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option("--target", metavar="TARGET", help="A target; repeat for several. Default: those that failed."),
    ] = None,
    *,
    as_json: Json = False,
    wait: Wait = False,
) -> None:
    """Say where an artifact's difference from the Keras model comes from: which stage, and which layer.

    Compares its scores with what other labels, another image, another softmax or bias would give, and the values of its layers
    with the Keras model's, in TF Lite, ONNX, Core ML, TensorFlow.js and SavedModel files. Shows what each layer adds under its
    Keras name, and keeps it in explain.json, which the report shows. Without options it explains what failed, or where nothing
    did, what differs most. Exit status: 0 something was explained, 2 nothing could be.
    """
    from rich.console import Console

    from edgeferry.benchmarks.report.explained.text import print_explanation

    with report_errors():
        found, kept = _explained(build_to_read(model, build), formats, targets, wait=wait)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        print_explanation(found, Console())
        typer.echo(f"\n{kept}")
    raise typer.Exit(Exit.HELD if any(each.suspects for each in found.results) else Exit.NOTHING)


def fix(  # noqa: PLR0913, PLR0917 - an argument per option
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="The model's build folder (build/my) or config (.toml).", show_default=False)
    ],
    build: Build = BUILD,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help="The format to repair.")] = "tflite-int8",
    target: Annotated[str, typer.Option(metavar="TARGET", help="The target that it has to pass on.")] = "litert",
    budget: Annotated[
        list[str] | None,
        typer.Option(metavar="size=+10%", help="How much larger, or slower (latency=+10%), it may get; repeat for both."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How many seconds to search; the same command goes on from there.")] = 600,
    *,
    apply: Annotated[bool, typer.Option("--apply", help="Write the change that is proven into the config.")] = False,
    as_json: Json = False,
    wait: Wait = False,
) -> None:
    """Search for the smallest change with which a format passes, and prove it on images that the search did not see.

    Keeps layers in float, those first whose rounding costs most, and holds Dense weights in other ways. Candidates are exported,
    run and chosen by one half of the golden images; the smallest that passes is judged on the other half. What was tried is kept
    in build/<model>/fix and not tried again. Needs the model and its config. Exit status: 0 a change is proven or none needed,
    1 none was found, 2 the search could not begin.
    """
    from rich.console import Console

    from edgeferry.benchmarks.report.explained.repair import print_fixed
    from edgeferry.models.config.edit import set_options

    with report_errors():
        spec, found = _fixed(build_to_read(model, build), (form, target, budget or [], seconds), wait=wait)
        if apply and found.best:
            set_options(spec.path, f"export.{form}", found.change)
    if as_json:
        typer.echo(json.dumps(found.as_json(), indent=2))
    else:
        print_fixed(found, Console())
        if apply and found.best:
            typer.echo(f"\nwritten into {spec.path}; `edgeferry export-all {spec.path}` exports it")
    raise typer.Exit(Exit.FAILED if found.best is None else Exit.HELD)


def _fixed(
    named: "tuple[ModelSpec | None, Path]", wanted: tuple[str, str, list[str], float], *, wait: bool
) -> "tuple[ModelSpec, Fixed]":
    """Return the config, and what a search came to; ``wanted`` are format, target, budget and seconds."""
    from edgeferry.benchmarks.fix.search import Plan, budget_of
    from edgeferry.benchmarks.fix.search import fix as fixed
    from edgeferry.models.system.process.owner import owned
    from edgeferry.targets.target import choose

    form, target, budget, seconds = wanted
    spec, place = named
    (on,) = choose((target,))
    with progress() as step, owned(place, step, wait=wait):
        spec, no_model = _model_of(spec, place)
        if spec is None:
            raise EdgeError("EF-fix-no-model", f"{place} cannot be repaired: {no_model}")
        return spec, fixed(place, Plan(spec, form, on, budget_of(budget), seconds), step)


def _explained(
    named: "tuple[ModelSpec | None, Path]", formats: list[str] | None, targets: list[str] | None, *, wait: bool
) -> "tuple[Explanation, Path]":
    """Return what was found, and the file that keeps it; the report shows it too."""
    from edgeferry.benchmarks.explain.result import write_explanation
    from edgeferry.benchmarks.explain.run import explain as explained
    from edgeferry.benchmarks.explain.subjects import subjects_in
    from edgeferry.benchmarks.parity.rows import cleaned
    from edgeferry.benchmarks.report.report import rewrite_report
    from edgeferry.models.system.process.owner import owned

    spec, place = named
    with progress() as step, owned(place, step, wait=wait):
        subjects = subjects_in(place, tuple(formats or ()), tuple(targets or ()))
        spec, no_model = _model_of(spec, place)
        found: Explanation = cleaned(explained(place, spec, subjects, step, no_model))
        kept = write_explanation(found, place)
        rewrite_report(place)
    return found, kept


def _model_of(spec: "ModelSpec | None", place: Path) -> "tuple[ModelSpec | None, str]":
    """Return the config that a build folder was exported from, or None and why its layers cannot be compared."""
    from edgeferry.models.config.spec import read_spec
    from edgeferry.models.reference import REFERENCE, changed_config_keys, read_reference, reference_fields
    from edgeferry.models.system.files import content_sha256

    try:
        if spec is None:
            path = Path(str(reference_fields(place / REFERENCE).get("config") or ""))
            if not path.is_file():
                return None, f"the config {path} is not there; name the config (.toml) instead of the build folder"
            spec = read_spec(path)
        if not spec.model.exists():
            return None, f"the model {spec.model} is not there; only its scores are known"
        reference = read_reference(place / REFERENCE)
        if reference is not None and content_sha256(spec.model) != reference.source_sha256:
            return None, f"{spec.model} is not the model that was exported; export it again"
        if reference is not None and (changed := changed_config_keys(spec, reference)):
            return None, f"{', '.join(changed)} changed in {spec.path} since the export; export again"
    except EdgeError as error:
        return None, str(error)
    return spec, ""
