# SPDX-License-Identifier: Apache-2.0
"""Arguments and options that several commands take, and the model and build folder that they name."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import model_build
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from edgeferry.models.audit.finding import AuditFinding
    from edgeferry.models.config.spec import ModelSpec

BUILD = Path("build")

Model = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="The model's config (.toml), its Keras file (.keras, .h5), its SavedModel folder, or Teachable Machine's .zip; "
        "or a name: digits, efficientnet_lite0, fashion_mnist, or a network of keras.applications.",
        show_default=False,
    ),
]
ModelFile = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="A Keras file (.keras, .h5), a SavedModel folder, or Teachable Machine's .zip.",
        show_default=False,
    ),
]
Images = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Where there is no config yet: a folder of photographs, one folder per label, or without labels, to write it from.",
    ),
]
CustomModule = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Code that the model needs, which is run: a Python file that registers Keras classes, or a package, keras_hub.",
    ),
]
Checked = Annotated[
    str,
    typer.Argument(
        metavar="MODEL",
        help="The model's build folder (build/my), bundle, config (.toml) or Keras file.",
        show_default=False,
    ),
]
Build = Annotated[Path, typer.Option(metavar="FOLDER", help="The model's files are in FOLDER/<model.name>.")]
Formats = Annotated[
    list[str] | None,
    typer.Option("--format", metavar="FORMAT", help="A format; repeat for several. Default: those of the config."),
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="TARGET", help="A target; repeat for several. Default: all except opt-in ones."),
]
Required = Annotated[
    list[str] | None,
    typer.Option(
        "--require",
        metavar="FORMAT[@TARGET]",
        help="A result that has to pass, or the command ends with status 1; repeat for several.",
    ),
]
Wait = Annotated[
    bool, typer.Option("--wait", help="Wait while another run uses the build folder. Default: end with status 2 at once.")
]
EveryRow = Annotated[
    bool, typer.Option("--all", help="Print a line for every result, and why each was not run. Default: one for every format.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def note(line: str) -> None:
    """Print a line that is no result on stderr."""
    typer.echo(f"edgeferry: {plain(line)}", err=True)


def note_findings(findings: "tuple[AuditFinding, ...]", *, notes: bool = False) -> None:
    """Print on stderr what an audit of images and config warns of, and with ``notes`` what it merely counted."""
    for each in findings:
        if notes or each.severity == "warning":
            note(f"{'warning: ' if each.severity == 'warning' else ''}{each.sentence} ({each.code})")


def code_of(custom_module: str | None) -> str | None:
    """Return the custom module that a user names; that it is code which runs is printed on stderr.

    Raises:
        EdgeError: there is no such file or package.
    """
    from edgeferry.models.loading.custom_module import OPTION, refuse_absent, said_of
    from edgeferry.models.loading.custom_module import custom_module as resolved

    if custom_module is None:
        return None
    module = resolved(custom_module, Path.cwd(), OPTION)
    refuse_absent(module)
    note(said_of(module))
    return module


def config_of(model: str, build: Path = BUILD, images: Path | None = None, code: str | None = None) -> "ModelSpec":
    """Return the config of the model a user names; what is assumed in one that is written now is printed on stderr."""
    from edgeferry.models.config.locate import find_config

    return find_config(model, note, build, images, code)


def config_to_load(model: str, build: Path, images: Path | None, custom_module: str | None) -> "ModelSpec":
    """Return the config of a model that will be loaded, with the code that a user lets it run.

    Raises:
        EdgeError: the config names code, and the user does not.
    """
    from edgeferry.models.loading.custom_module import KEY, OPTION

    code = code_of(custom_module)
    spec = config_of(model, build, images, code)
    if code is not None:
        return replace(spec, custom_module=code, runs_custom_module=True)
    if spec.custom_module is not None:
        raise EdgeError(
            "EF-custom-module-unnamed",
            f"{spec.path}: {KEY} names code, which is run only where the command names it too: read it, and add "
            f"{OPTION} {shlex.quote(spec.custom_module)}.",
        )
    return spec


def config_to_export(
    model: str,
    build: Path,
    images: Path | None = None,
    required: "list[str] | None" = None,
    custom_module: str | None = None,
) -> "ModelSpec":
    """Return the config of the model a user names; where there was none, end with status 0: a starter is what was made.

    Not so where results are required: there are none.
    """
    from edgeferry.models.config.locate import StarterError

    try:
        return config_to_load(model, build, images, custom_module)
    except StarterError as written:
        if required:
            raise
        note(str(written))
        raise typer.Exit from None


def build_to_read(model: str, build: Path) -> "tuple[ModelSpec | None, Path]":
    """Return a model's config and build folder; the config is None where the user names the build folder itself, or a bundle.

    Raises:
        EdgeError: the model cannot be found, or its build folder is none or was written by an older release.
    """
    from edgeferry.models.bundle.archive import is_archive
    from edgeferry.models.bundle.content import unpacked

    folder = Path(model).expanduser().absolute()
    if is_archive(folder):
        place, spec = unpacked(folder, build), None
    elif model.strip() and folder.is_dir() and not (folder / "saved_model.pb").exists():
        from edgeferry.models.reference import REFERENCE

        place, spec = folder.resolve(), None
        if not (place / REFERENCE).is_dir():
            raise EdgeError(
                "EF-build-folder",
                f"{folder} is no build folder: it has no folder {REFERENCE!r}. Export the model first with `make export-all`, "
                "then name build/<model.name>.",
            )
    else:
        spec = config_of(model, build)
        place = model_build(build, spec.name)
    _refuse_older(place)
    if spec is not None:
        _note_other_config(spec, place)
    return spec, place


def _note_other_config(spec: "ModelSpec", place: Path) -> None:
    from edgeferry.models.config.locate import config_of_same_name
    from edgeferry.models.reference import REFERENCE, reference_fields

    if (other := config_of_same_name(spec, reference_fields(place / REFERENCE).get("config"))) is not None:
        note(f"{place} was exported from {other}, not from {spec.path}")


def _refuse_older(place: Path) -> None:
    from edgeferry.models.reference import REFERENCE, written_by_older_release

    if written_by_older_release(place / REFERENCE):
        raise EdgeError(
            "EF-build-older",
            f"{place} was written by an older release of edgeferry. Export the model again with `make export-all`.",
        )
