# SPDX-License-Identifier: Apache-2.0
"""The command that proves on a model's own artifacts that the check can fail."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeferry.commands.arguments import BUILD, Build, Checked, Formats, Wait, build_to_read
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import Exit, progress, report_errors

if TYPE_CHECKING:
    from edgeferry.models.config.spec import ModelSpec

PANEL = "Export and check"


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(cls=HelpCommand, rich_help_panel=PANEL)(selftest)


def selftest(  # noqa: PLR0913, PLR0917 - an argument per option
    model: Checked,
    build: Build = BUILD,
    formats: Formats = None,
    faults: Annotated[
        list[str] | None,
        typer.Option("--faults", metavar="FAMILY", help="A family of faults; repeat for several. Default: all."),
    ] = None,
    seconds: Annotated[float, typer.Option(help="How many seconds to go on; what there was no time for is counted.")] = 300,
    as_json: Annotated[Path | None, typer.Option("--json", help="Write every trial to this file too.")] = None,
    *,
    wait: Wait = False,
) -> None:
    """Plant faults in copies of the exported artifacts and see which of them the check catches.

    Also exports the model again in other honest ways, which have to pass. Prints a table and keeps it in selftest.json, which the
    report shows. Needs the model and its config. Exit status: 0 every fault that matters was caught and every honest artifact
    passed, 1 not, 2 nothing could be tried.
    """
    from rich.console import Console

    from edgeferry.benchmarks.report.report import rewrite_report
    from edgeferry.benchmarks.report.selftest_page import print_selftest
    from edgeferry.benchmarks.selftest.result import holds, write_selftest
    from edgeferry.benchmarks.selftest.run import Plan, self_test
    from edgeferry.models.system.files import write_json
    from edgeferry.models.system.process.owner import owned

    with report_errors():
        spec, place = build_to_read(model, build)
        with progress() as step, owned(place, step, wait=wait):
            plan = Plan(tuple(formats or ()), tuple(faults or ()), seconds)
            found = self_test(spec or _config_of(place), place, plan, step)
            kept = write_selftest(found, place)
            rewrite_report(place)
        if as_json:
            write_json(as_json, found.as_json())
    print_selftest(found, Console())
    typer.echo(f"\n{kept}")
    raise typer.Exit(Exit.NOTHING if not found.trials else Exit.HELD if holds(found) else Exit.FAILED)


def _config_of(place: Path) -> "ModelSpec":
    """Return the config that a build folder was exported from.

    Raises:
        EdgeError: it is not there any more.
    """
    from edgeferry.models.config.spec import read_spec
    from edgeferry.models.reference import REFERENCE, reference_fields

    path = Path(str(reference_fields(place / REFERENCE).get("config") or ""))
    if not path.is_file():
        raise EdgeError(
            "EF-selftest-config",
            f"{place} was exported from {path}, which is not there; expected it, since faults are planted by exporting again. "
            "Name the config (.toml) instead of the build folder.",
        )
    return read_spec(path)
