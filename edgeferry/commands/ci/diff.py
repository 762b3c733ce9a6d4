# SPDX-License-Identifier: Apache-2.0
"""The command that compares two builds."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeferry.commands.arguments import BUILD, Formats, Json, Targets, build_to_read
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import progress, report_errors

if TYPE_CHECKING:
    from edgeferry.benchmarks.diff.result import BuildDiff
    from edgeferry.models.system.terminal import Step

PANEL = "Export and check"
# Environments and builds of upgrades, below the folder of builds.
UPGRADES = ".upgrades"


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(cls=HelpCommand, rich_help_panel=PANEL)(diff)


def diff(  # noqa: PLR0913 - an argument per option
    old: Annotated[str, typer.Argument(help="The older build folder, bundle, or certificate.json.", show_default=False)],
    new: Annotated[str, typer.Argument(help="The newer one; none with --upgrade.")] = "",
    formats: Formats = None,
    targets: Targets = None,
    upgrade: Annotated[
        str | None,
        typer.Option(
            metavar="PACKAGE=VERSION",
            help="Export the same model with another version of a package, in an environment of its own, and compare with that.",
        ),
    ] = None,
    *,
    as_json: Json = False,
) -> None:
    """Show what changed between two builds of a classifier: after an upgrade of a converter, another option, new training.

    Runs the artifacts of both on the same golden images, by the runtimes of this machine, where their files differ. Shows the
    images in another class, the change of accuracy with an exact McNemar test, sizes, latencies, and the tools, options and
    sources that changed. Of two certificates it compares what they say, and runs nothing. Exit status: 0 nothing is worse,
    1 something is, 2 the builds cannot be compared.
    """
    from rich.console import Console

    from edgeferry.benchmarks.parity.rows import cleaned
    from edgeferry.benchmarks.report.diff_text import print_diff

    with report_errors():
        _refuse_sides(new, upgrade)
        found = _compared(old, new or upgrade or "", formats, targets, is_upgrade=upgrade is not None)
    if as_json:
        typer.echo(json.dumps(cleaned(found.as_json()), indent=2))
    else:
        print_diff(found, Console())
    raise typer.Exit(found.exit_status)


def _compared(old: str, new: str, formats: list[str] | None, targets: list[str] | None, *, is_upgrade: bool) -> "BuildDiff":
    """Return how two builds differ; ``new`` is the upgrade where that is what makes the newer one."""
    from edgeferry.benchmarks.certificate.comparison import diff_of_certificates
    from edgeferry.benchmarks.diff.run import diff as difference
    from edgeferry.exporters.format import choose as choose_formats
    from edgeferry.targets.target import choose

    if old.endswith(".json") and new.endswith(".json"):
        return diff_of_certificates(Path(old), Path(new))
    choose_formats(tuple(formats or ()))
    chosen = choose(tuple(targets or ()) or None)
    before = build_to_read(old, BUILD)[1]
    with progress() as step:
        after = _upgraded(before, new, formats, step) if is_upgrade else build_to_read(new, BUILD)[1]
        return difference(before, after, tuple(formats or ()), chosen, step)


def _refuse_sides(new: str, upgrade: str | None) -> None:
    if (new == "") == (upgrade is None):
        raise EdgeError("EF-diff-sides", "expected an older and a newer build, or one build and --upgrade PACKAGE=VERSION.")


def _upgraded(before: Path, upgrade: str, formats: list[str] | None, step: "Step") -> Path:
    """Return the build folder of the same config, exported with an upgrade.

    Raises:
        EdgeError: the config is not there any more, or the upgrade cannot be installed.
    """
    from edgeferry.benchmarks.diff.upgrade import environment_with, export_with, upgrade_of
    from edgeferry.models.config.spec import read_spec
    from edgeferry.models.exports import read_exports
    from edgeferry.models.reference import REFERENCE, reference_fields

    wanted = upgrade_of(upgrade)
    config = Path(str(reference_fields(before / REFERENCE).get("config")))
    spec = read_spec(config)
    place = before.parent / UPGRADES
    python = environment_with(wanted, place / "environments", step)
    written = [each.format for each in read_exports(before).formats if each.state in {"written", "kept"}]
    step(f"exporting {spec.name} with {wanted}")
    build = place / f"{wanted.package}-{wanted.version}"
    export_with(python, config, build, tuple(formats or written))
    return build / spec.name
