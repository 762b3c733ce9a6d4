# SPDX-License-Identifier: Apache-2.0
"""The command that puts many models on one card."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeferry.commands.arguments import BUILD, Build, Json, build_to_read, note
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.terminal import report_errors

if TYPE_CHECKING:
    from edgeferry.benchmarks.fleet.scorecard import Scorecard

PANEL = "Many models"
PAGE = Path("scorecard.html")
HISTORY = Path("scorecard.sqlite")


def add_to(app: typer.Typer) -> None:
    """Add this command."""
    app.command(cls=HelpCommand, rich_help_panel=PANEL)(scorecard)


def scorecard(  # noqa: PLR0913 - an argument per option
    models: Annotated[list[str], typer.Argument(metavar="MODEL", help="Build folders, configs or bundles.", show_default=False)],
    build: Build = BUILD,
    history: Annotated[
        Path, typer.Option(metavar="FILE", help="The SQLite file that every report is added to, and compared with.")
    ] = HISTORY,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="Where to write the page.")] = PAGE,
    *,
    every_model: Annotated[bool, typer.Option("--all", help="Print a line for every model, however many there are.")] = False,
    as_json: Json = False,
) -> None:
    """Show many models on one card: verdicts, sizes, latency ratios, and what changed since the report before.

    Reads each model's last report and last latency run; nothing is run. What is worse than before comes first, then what failed.
    Writes a page whose tables can be sorted. Status 1: something is worse than in the report before, or failed; 2: there is no
    report.
    """
    from rich.console import Console

    from edgeferry.benchmarks.fleet.scorecard_page import print_scorecard, scorecard_as_html
    from edgeferry.benchmarks.parity.rows import cleaned
    from edgeferry.models.system.files import write_whole

    with report_errors():
        card = _card(models, build, history)
        write_whole(output, scorecard_as_html(card))
    if as_json:
        typer.echo(json.dumps(cleaned(card.as_json()), indent=2, ensure_ascii=False))
    else:
        print_scorecard(card, Console(), every_model=every_model)
        typer.echo(f"\n{output}")
    raise typer.Exit(card.exit_status)


def _card(models: list[str], build: Path, history: Path) -> "Scorecard":
    """Return the card of models, compared with a history, to which their reports are added.

    Raises:
        EdgeError: no model has a report, two have the same name, or the history is none.
    """
    from edgeferry.benchmarks.fleet.history import before, opened, record
    from edgeferry.benchmarks.fleet.scorecard import card_of, read_scores, scorecard

    found, left_out = {}, []
    for each in models:
        try:
            scores = read_scores(build_to_read(each, build)[1])
        except EdgeError as error:
            left_out.append(error)
            continue
        if scores.name in found:
            raise EdgeError("EF-scorecard-twice", f"{each} is a second model of the name {scores.name}; expected one of each.")
        found[scores.name] = scores
    if not found:
        raise EdgeError("EF-scorecard-empty", f"none of these models has a report. The first: {left_out[0]} ({left_out[0].code})")
    for problem in left_out:
        note(f"left out: {problem} ({problem.code})")
    with opened(history) as past:
        cards = [card_of(scores, before(past, scores)) for scores in found.values()]
        for scores in found.values():
            record(past, scores)
    return scorecard(cards)
