# SPDX-License-Identifier: Apache-2.0
"""Arguments and options that several commands take."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from edgeferry.models.config.spec import ModelSpec

BUILD = Path("build")

Model = Annotated[str, typer.Argument(help="A model's TOML file, or a Keras file (.keras, .h5).", show_default=False)]
Checked = Annotated[
    str, typer.Argument(help="A model's build folder (build/my), its TOML file, or its Keras file.", show_default=False)
]
Build = Annotated[Path, typer.Option(help="Where everything is written.")]
Formats = Annotated[
    list[str] | None, typer.Option("--format", help="A format; repeat it for several. Default: those of the config.")
]
Targets = Annotated[
    list[str] | None, typer.Option("--target", help="A target; repeat it for several. Default: all but opt-in ones.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def config_of(model: str) -> "ModelSpec":
    """Return the config of the model a user names; what is assumed where one has to be written is printed on stderr."""
    from edgeferry.models.config.locate import find_config

    return find_config(model, lambda note: typer.echo(f"edgeferry: {note}", err=True))
