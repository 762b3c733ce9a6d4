# SPDX-License-Identifier: Apache-2.0
"""The command that puts a build into one file."""

from pathlib import Path
from typing import Annotated

import typer

from edgeferry.commands.arguments import BUILD, Build, Checked, Formats, build_to_read
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.terminal import report_errors
from edgeferry.models.system.text import plain

PANEL = "Export and check"


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(cls=HelpCommand, rich_help_panel=PANEL)(bundle)


def bundle(
    model: Checked,
    build: Build = BUILD,
    formats: Formats = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Where to write it. Default: <model.name>.bundle.")
    ] = None,
) -> None:
    """Put artifacts and everything that they are checked with into one file, for `edgeferry check`.

    It holds the artifacts and manifests, the golden inputs with labels and the Keras model's scores, what each precision
    explains, the model's constants, and the digest of each file. The same build gives the same bytes. Checking it needs no
    TensorFlow, checkout or images: `pip install 'edgeferry[check]'`.
    """
    from edgeferry.benchmarks.report.words import size
    from edgeferry.models.bundle.content import write_bundle
    from edgeferry.models.system.files import sha256_of

    with report_errors():
        _, place = build_to_read(model, build)
        path = output or Path(f"{place.name}.bundle")
        index = write_bundle(place, formats or (), path)
    typer.echo(plain(f"{path}: {size(path.stat().st_size)}, {len(index.files)} files, sha256 {sha256_of(path)}"))
