# SPDX-License-Identifier: Apache-2.0
"""The commands for those who put an artifact into an app: a kit, and whether an app prepares images as it should."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeferry.commands.arguments import BUILD, Build, Checked, build_to_read
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import report_errors
from edgeferry.models.system.text import plain

if TYPE_CHECKING:
    from edgeferry.exporters.shipping.places import Place

PANEL = "Ship"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for function in (ship, conform):
        app.command(cls=HelpCommand, rich_help_panel=PANEL)(function)


def ship(
    model: Checked,
    place: Annotated[
        str, typer.Option("--for", metavar="PLACE", help="ios, android, web, coral, server, python or mcu.", show_default=False)
    ],
    build: Build = BUILD,
    form: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help="The format. Default: the smallest that passed the last check."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FOLDER", help="Where to write it. Default: <model.name>-<place>.")
    ] = None,
) -> None:
    """Write what an app needs next to an artifact: labels, a test image with its exact input and scores, and code.

    The code loads the file, prepares an image exactly as the config says, and reads the answer: Swift, Kotlin, JavaScript,
    Python or C++. Odd pictures (sizes, EXIF, gray, alpha, CMYK, 16 bit, ICC) come with the exact pixels that each becomes.
    """
    from edgeferry.exporters.shipping.kit import write_kit
    from edgeferry.exporters.shipping.places import place_named

    with report_errors():
        where = place_named(place)
        _, folder = build_to_read(model, build)
        name = form or _recommended(folder, where)
        kit = output or Path(f"{folder.name}-{where.name}")
        if kit.exists() and not (kit / "kit.json").is_file():
            raise EdgeError("EF-ship-folder", f"{kit}: is there, and no kit; name another folder with -o.")
        artifact = write_kit(folder, name, where, kit)
    typer.echo(plain(f"{kit}: {name}, {artifact.bytes} bytes, for {where.summary}"))
    typer.echo(plain(f"next: read {kit / 'README.md'}"))


def _recommended(folder: Path, place: "Place") -> str:
    """Return the smallest format that passed for a place.

    Raises:
        EdgeError: none did, or nothing was checked yet.
    """
    from edgeferry.benchmarks.report.report import read_report
    from edgeferry.benchmarks.report.shipping.recommendation import recommendations

    found = {each.place.name: each for each in recommendations(read_report(folder / "report.json"))}.get(place.name)
    if found is not None and found.smallest is not None:
        return found.smallest.format
    why = "; ".join(f"{form}: {reason}" for form, reason in found.lost.items()) if found else "no such format was exported"
    raise EdgeError(
        "EF-ship-nothing",
        f"{folder}: nothing passed for {place.name} ({why}); expected an artifact of kind {', '.join(place.kinds)}. "
        "Check it with `edgeferry check`, or name one with --format.",
    )


def conform(
    kit: Annotated[Path, typer.Argument(help="A folder that `edgeferry ship` wrote.", show_default=False)],
    found: Annotated[
        Path,
        typer.Argument(help="What an app made of them: <picture's name>.u8 (pixels) or .f32 (input).", show_default=False),
    ],
) -> None:
    """Compare what an app makes of a kit's odd pictures with what it has to make, and name the mistake.

    Status 1: a picture became something else. Named are range, order of channels, rotation, crop, kernel, half-pixel, opacity
    and colour profile.
    """
    from edgeferry.exporters.shipping.conformance import conformance
    from edgeferry.exporters.shipping.kit import CONFORMANCE, read_kit
    from edgeferry.exporters.shipping.pictures import read_pictures

    with report_errors():
        pictures = kit / CONFORMANCE
        wrong, absent = conformance(pictures, found, read_kit(kit).preprocessing)
        total = len(read_pictures(pictures))
        if len(absent) == sum(not each.refused for each in read_pictures(pictures)):
            raise EdgeError(
                "EF-conform-nothing", f"{found}: holds nothing about any picture; expected files like 00-odd-size.u8."
            )
    for each in wrong:
        typer.echo(plain(f"{each.picture.file} ({each.picture.what}): off by up to {each.levels:.0f} of 255: {each.mistake}"))
    for picture in absent:
        typer.echo(plain(f"{picture.file} ({picture.what}): nothing was given"))
    typer.echo(f"{total - len(wrong) - len(absent)} of {total} pictures are right")
    if wrong:
        raise typer.Exit(1)
