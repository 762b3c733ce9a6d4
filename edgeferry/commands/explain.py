# SPDX-License-Identifier: Apache-2.0
"""The command that says which stage and which layer an artifact's difference comes from."""

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
    from edgeferry.models.config.spec import ModelSpec

PANEL = "Export and check"


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(cls=HelpCommand, rich_help_panel=PANEL)(explain)


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
    with the Keras model's, in TF Lite, ONNX, Core ML and SavedModel files. Shows what each layer adds under its Keras name, and
    keeps it in explain.json, which the report shows. Without options it explains what failed, or where nothing did, what differs
    most. Exit status: 0 something was explained, 2 nothing could be.
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
