# SPDX-License-Identifier: Apache-2.0
"""The command ``edgeferry``: its sub-commands, the options they share, and how it ends."""

import logging
import os
import sys
import tempfile
import traceback
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Final

import typer

from edgeferry.commands import export, files, latency, listing, maintenance, pages
from edgeferry.commands.help import HelpGroup
from edgeferry.models.system.terminal import Exit

HELP: Final = """Export one trained Keras image classifier to every edge format, check it against the model, measure it.

Exit status: 0 parity held, 1 it did not, 2 nothing could be checked or the command was wrong, 3 a defect of edgeferry.
"""

app = typer.Typer(
    name="edgeferry",
    cls=HelpGroup,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (export, latency, files, listing, pages, maintenance):
    group.add_to(app)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the option's value
    if wanted:
        try:
            typer.echo(f"edgeferry {version('edgeferry')}")
        except PackageNotFoundError:
            typer.echo("edgeferry, from a checkout that is not installed")
        raise typer.Exit


@app.callback()
def options(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print a line per step, and why each is done.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Set how much is printed."""
    logging.getLogger("edgeferry").setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO)


def main() -> None:
    """Run the command; what nobody foresaw ends in one line that names the full log, with status 3."""
    try:
        app()
    except BrokenPipeError:
        # Whoever read the output closed it; Python's own flush at exit must not complain of it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.INTERRUPTED)
    except Exception as error:  # noqa: BLE001 - the last resort of the whole program
        handle, log = tempfile.mkstemp(prefix="edgeferry-defect-", suffix=".log")
        os.close(handle)
        Path(log).write_text(f"{sys.argv}\n{traceback.format_exc()}", encoding="utf-8", errors="replace")
        words = " ".join(str(error).split())
        sys.stderr.write(f"edgeferry: a defect of edgeferry, {type(error).__name__}: {words:.200}; the full log is {log}\n")
        sys.exit(Exit.DEFECT)
