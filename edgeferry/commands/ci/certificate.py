# SPDX-License-Identifier: Apache-2.0
"""The commands that certify what was checked, and verify a certificate later."""

import json
from pathlib import Path
from typing import Annotated

import typer

from edgeferry.commands.arguments import BUILD, Build, Checked, build_to_read, note
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import report_errors
from edgeferry.models.system.text import plain

PANEL = "Export and check"
STATEMENT = "certificate.intoto.json"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for function in (certify, verify):
        app.command(cls=HelpCommand, rich_help_panel=PANEL)(function)


def certify(
    model: Checked,
    build: Build = BUILD,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A private elliptic key (PEM) to sign it with; needs edgeferry[sign].")
    ] = None,
) -> None:
    """Write a certificate of what the last check found, by digest, and an in-toto statement of the verdict.

    certificate.json holds source, data, artifacts, tools, environments and every verdict with its evidence. The same build
    folder gives the same bytes. The audit trail, log.jsonl, gets a line. Status 1: what is certified did not pass.
    """
    from edgeferry.benchmarks.certificate.certificate import CERTIFICATE, certificate_of, statement_of
    from edgeferry.benchmarks.certificate.log import append_event
    from edgeferry.benchmarks.certificate.signing import sign
    from edgeferry.models.system.files import sha256_of, write_whole

    with report_errors():
        _, place = build_to_read(model, build)
        found = certificate_of(place)
        path = place / CERTIFICATE
        # A certificate that is there already, word for word, needs no second line of the audit trail.
        if _is_other(path, place):
            write_whole(path, found.text())
            append_event(place, "certified", sha256_of(path), int(found.verdict != "passed"))
        write_whole(place / STATEMENT, json.dumps(statement_of(found), indent=2, ensure_ascii=False) + "\n")
        signature = sign(path, key) if key is not None else None
    typer.echo(plain(f"{path}: {found.verdict}, {len(found.results)} results, {len(found.files)} files"))
    if signature is not None:
        typer.echo(plain(f"{signature}: signed by {key}"))
    if found.verdict != "passed":
        raise typer.Exit(1)


def _is_other(path: Path, place: Path) -> bool:
    from edgeferry.benchmarks.certificate.log import events
    from edgeferry.models.system.files import sha256_of

    try:
        last = next(reversed(events(place)), None)
    except ValueError as error:
        raise EdgeError("EF-log-chain", f"{place}: {error}. Keep it for whoever looks into that, and export again.") from None
    return last is None or last["event"] != "certified" or not path.is_file() or sha256_of(path) != last["sha256"]


def verify(
    certificate: Annotated[Path, typer.Argument(help="A certificate.json.", show_default=False)],
    build: Annotated[
        Path | None, typer.Option("--build", metavar="FOLDER", help="The build folder. Default: the one it is in.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The public key (PEM) it has to be signed with; needs edgeferry[sign].")
    ] = None,
) -> None:
    """Take every digest of a certificate again, and say what is no longer valid.

    Looks at the artifacts, the reference, the self-test, the last report and the audit trail of the build folder. Status 1:
    something is not valid; 2: it is no certificate.
    """
    from edgeferry.benchmarks.certificate.certificate import read_certificate
    from edgeferry.benchmarks.certificate.signing import unsigned
    from edgeferry.benchmarks.certificate.verification import problems

    with report_errors():
        found = problems(certificate, build or certificate.absolute().parent)
        if key is not None and (why := unsigned(certificate, key)):
            found.append(why)
        held = read_certificate(certificate)
    for each in found:
        typer.echo(plain(f"not valid: {each}"))
    if found:
        raise typer.Exit(1)
    if key is None:
        note("without --key it is not known who made it")
    typer.echo(plain(f"valid: {held.model}, {held.verdict}, {len(held.results)} results, {len(held.files)} files"))
