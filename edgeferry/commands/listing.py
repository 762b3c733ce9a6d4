# SPDX-License-Identifier: Apache-2.0
"""List what there is, and what this machine can do of it."""

import json
import platform
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Final

import typer

from edgeferry.commands.arguments import Json
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.terminal import report_errors

PANEL = "What there is"
# History: 1, the first.
SCHEMA: Final = 1
# Where no terminal says how wide it is, lines are not broken: a program or an editor reads them.
UNBROKEN: Final = 10_000


@dataclass(frozen=True)
class Capability:
    """A format or target, and whether it can be used here: ``missing`` says why not and how to get it, or is None."""

    kind: str
    name: str
    summary: str
    opt_in: bool
    missing: str | None

    @property
    def state(self) -> str:
        """Return 'ready', 'opt-in' (ready when it is named) or 'missing'."""
        return "missing" if self.missing else "opt-in" if self.opt_in else "ready"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for name, function in {"formats": list_formats, "targets": list_targets, "doctor": doctor}.items():
        app.command(name, cls=HelpCommand, rich_help_panel=PANEL)(function)


def list_formats(*, as_json: Json = False) -> None:
    """List the formats a model can be exported to."""
    _print(lambda: [*_formats()], as_json=as_json)


def list_targets(*, as_json: Json = False) -> None:
    """List the targets: the runtimes and machines that artifacts are checked and measured on."""
    _print(lambda: [*_targets()], as_json=as_json)


def doctor(*, as_json: Json = False) -> None:
    """Say what this machine can export and run, what is missing, and how to get it."""
    with report_errors():
        found = [*_formats(), *_targets()]
    if as_json:
        typer.echo(_json(found))
        return
    typer.echo(f"Python {platform.python_version()} ({sys.executable}) on {platform.system()} {platform.machine()}")
    for kind in ("format", "target"):
        of_kind = [each for each in found if each.kind == kind]
        ready = sum(each.missing is None for each in of_kind)
        typer.echo(f"\n{kind.capitalize()}s: {ready} of {len(of_kind)} can be used here")
        for line in _lines(of_kind, lambda each: each.missing or each.summary):
            typer.echo(line)


def _formats() -> Iterator[Capability]:
    from edgeferry.exporters.format import formats

    for each in formats().values():
        yield Capability("format", each.name, each.summary, not each.by_default, each.missing())


def _targets() -> Iterator[Capability]:
    from edgeferry.targets.target import targets

    for each in targets().values():
        yield Capability("target", each.name, each.summary, not each.by_default, each.missing())


def _print(found: Callable[[], Sequence[Capability]], *, as_json: bool) -> None:
    with report_errors():
        listed = found()
    for line in [_json(listed)] if as_json else _lines(listed, lambda each: each.summary):
        typer.echo(line)


def _json(found: Sequence[Capability]) -> str:
    return json.dumps({"schema": SCHEMA, "items": [{**asdict(each), "state": each.state} for each in found]}, indent=2)


def _lines(found: Sequence[Capability], text: Callable[[Capability], str]) -> Iterator[str]:
    """Yield a line per item, its text broken to the terminal's width and never cut."""
    name_width = max(len(each.name) for each in found)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else UNBROKEN
    for each in found:
        head = f"  {each.state:<7}  {each.name:<{name_width}}  "
        room = max(width - len(head), 30)
        first, *rest = textwrap.wrap(text(each), room, break_long_words=False, break_on_hyphens=False) or [""]
        yield f"{head}{first}".rstrip()
        yield from (" " * len(head) + line for line in rest)
