# SPDX-License-Identifier: Apache-2.0
"""The command ``edgeferry``: its sub-commands, the options they share, and how it ends."""

import logging
import os
import signal
import sys
import tempfile
import traceback
from pathlib import Path
from typing import Annotated, Final

import typer

from edgeferry.commands import explain, export, files, latency, listing, maintenance, pages, selftest, shipping
from edgeferry.commands.ci import bundle, certificate, diff, drift, fleet, scorecard
from edgeferry.commands.help import HelpGroup
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.packages import installed_version
from edgeferry.models.system.terminal import Exit, print_error, report_errors

HELP: Final = """Export one trained Keras image classifier to every edge format, check each one against the model, measure it.

Start with: edgeferry export-all my.keras

Exit status: 0 the command succeeded and parity held; 1 parity did not hold, or an artifact or measurement failed; 2 the command
was wrong, or nothing could be checked; 3 a defect of edgeferry.
"""

app = typer.Typer(
    name="edgeferry",
    cls=HelpGroup,
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
IN_CI: Final = (bundle, diff, drift, certificate, fleet, scorecard)
for group in (export, *IN_CI, explain, selftest, latency, shipping, files, listing, pages, maintenance):
    group.add_to(app)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - Typer calls it with the option's value
    if wanted:
        version = installed_version("edgeferry")
        typer.echo(f"edgeferry {version}" if version else "edgeferry, from a checkout that is not installed")
        raise typer.Exit


@app.callback()
def options(
    *,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print one line per step, on a terminal too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")] = False,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Set how much is printed."""
    logging.getLogger("edgeferry").setLevel(logging.DEBUG if verbose else logging.ERROR if quiet else logging.INFO)


def _terminate(*_: object) -> None:
    """End as after Ctrl-C: child processes are ended, what is half written is removed."""
    # A second one must not cut that short.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise SystemExit(Exit.TERMINATED)


def main() -> None:
    """Run the command; an unexpected exception ends with status 3 and one line that names a log with the traceback."""
    signal.signal(signal.SIGTERM, _terminate)
    try:
        with report_errors():
            app(prog_name="edgeferry")
    except Exception as error:  # noqa: BLE001 - the last resort of the whole program
        handle, log = tempfile.mkstemp(prefix="edgeferry-defect-", suffix=".log")
        os.close(handle)
        Path(log).write_text(f"{sys.argv}\n{traceback.format_exc()}", encoding="utf-8", errors="replace")
        words = " ".join(str(error).split())
        print_error(
            EdgeError("EF-defect", f"a defect of edgeferry, {type(error).__name__}: {words:.200}; the traceback is in {log}")
        )
        sys.exit(Exit.DEFECT)
