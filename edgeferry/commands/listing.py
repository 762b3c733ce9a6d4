# SPDX-License-Identifier: Apache-2.0
"""List the formats and targets, and what this machine can do with them."""

import json
import platform
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Final

import typer

from edgeferry.commands.arguments import Json
from edgeferry.commands.help import HelpCommand
from edgeferry.models.system.errors import EXTRAS, install_command
from edgeferry.models.system.places import ROOT
from edgeferry.models.system.terminal import report_errors

PANEL = "Formats and targets"
# History: 1, the first. Its JSON Schema is capabilities.schema.json.
SCHEMA: Final = 1
# Output to a pipe or file is for programs and editors, so lines are not wrapped there.
UNWRAPPED: Final = 10_000
# Modules of distributions with another name.
MODULES: Final = {"scikit-learn": "sklearn", "tensorflow-cpu": "tensorflow"}
LEAST_WIDTH: Final = 30
INDENT: Final = "    "
HEADINGS: Final = {
    "ready": "ready",
    "opt-in": "opt-in: ready, but used only where it is named with --{kind}",
    "missing": "missing, and how to get it",
}


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
        """Return 'ready', 'opt-in' (ready, but used only where it is named) or 'missing'."""
        return "missing" if self.missing else "opt-in" if self.opt_in else "ready"


def add_to(app: typer.Typer) -> None:
    """Add these commands."""
    for name, function in {"formats": list_formats, "targets": list_targets, "doctor": doctor}.items():
        app.command(name, cls=HelpCommand, rich_help_panel=PANEL)(function)


def list_formats(*, as_json: Json = False) -> None:
    """List the formats a model can be exported to."""
    _print(lambda: [*_formats()], as_json=as_json)


def list_targets(*, as_json: Json = False) -> None:
    """List the targets that artifacts can run on.

    A target is a runtime on this machine, or a machine, board, browser or endpoint that this one reaches.
    """
    _print(lambda: [*_targets()], as_json=as_json)


def doctor(*, as_json: Json = False) -> None:
    """Show what works here, what is missing, and how to get it.

    Lists every format and target: first those that are ready, then the opt-in ones, then those that miss something, with the
    command that installs it.
    """
    with report_errors():
        found = [*_formats(), *_targets()]
    for line in [_json(found)] if as_json else _diagnosis(found, _width()):
        typer.echo(line)


def _formats() -> Iterator[Capability]:
    from edgeferry.exporters.format import formats

    for each in formats().values():
        yield Capability("format", each.name, each.summary, not each.by_default, each.missing() or _missing_tools(each.tools))


def _missing_tools(distributions: Sequence[str]) -> str | None:
    """Return which Python packages an exporter lacks and the commands that install them, or None."""
    modules = dict.fromkeys(MODULES.get(each, each) for each in distributions)
    absent = [module for module in modules if find_spec(module) is None]
    commands = dict.fromkeys(f"`{install_command(module)}`" for module in absent)
    return f"needs the Python packages {', '.join(absent)}: {' and '.join(commands)}" if absent else None


def _targets() -> Iterator[Capability]:
    from edgeferry.targets.target import targets

    for each in targets().values():
        yield Capability("target", each.name, each.summary, not each.by_default, each.missing())


def _print(found: Callable[[], Sequence[Capability]], *, as_json: bool) -> None:
    with report_errors():
        listed = found()
    for line in [_json(listed)] if as_json else _table(listed, _width()):
        typer.echo(line)


def _json(found: Sequence[Capability]) -> str:
    return json.dumps({"schema": SCHEMA, "items": [{**asdict(each), "state": each.state} for each in found]}, indent=2)


def _diagnosis(found: Sequence[Capability], width: int) -> Iterator[str]:
    yield f"Python {platform.python_version()} ({sys.executable}) on {platform.system()} {platform.machine()}"
    for kind in ("format", "target"):
        of_kind = [each for each in found if each.kind == kind]
        usable = sum(each.missing is None for each in of_kind)
        yield f"\n{kind.capitalize()}s: {usable} of {len(of_kind)} can be used here"
        for state, heading in HEADINGS.items():
            of_state = [each for each in of_kind if each.state == state]
            if of_state:
                yield f"  {heading.format(kind=kind)}"
                yield from _reasons(of_state, width) if state == "missing" else _rows(of_state, _summary, width)
    if not (ROOT / "Makefile").is_file():
        yield from _extras(width)


def _table(found: Sequence[Capability], width: int) -> Iterator[str]:
    return _rows(found, lambda each: f"{each.state:<7}  {each.summary}", width)


def _rows(found: Sequence[Capability], text: Callable[[Capability], str], width: int) -> Iterator[str]:
    """Yield one line per item, its text wrapped to the width and never cut."""
    name_width = max(len(each.name) for each in found)
    for each in found:
        head = f"{INDENT}{each.name:<{name_width}}  "
        yield from _wrapped(text(each), head, " " * len(head), width)


def _summary(each: Capability) -> str:
    return each.summary


def _reasons(found: Sequence[Capability], width: int) -> Iterator[str]:
    """Yield each reason once, below the names that share it."""
    names_of: dict[str, list[str]] = {}
    for each in found:
        names_of.setdefault(str(each.missing), []).append(each.name)
    for reason, names in names_of.items():
        yield from _wrapped(", ".join(names), INDENT, INDENT, width)
        yield from _wrapped(reason, INDENT * 2, INDENT * 2, width)


def _extras(width: int) -> Iterator[str]:
    """Yield how an installed wheel, which has no `make install`, gets the packages of more formats and targets."""
    extras = ", ".join(f"'edgeferry[{extra}]'" for extra in dict.fromkeys(EXTRAS.values()))
    yield "\nHow to install more"
    yield from _wrapped(f"pip install with one of {extras}", INDENT, INDENT, width)
    yield from _wrapped(install_command("tensorflowjs"), INDENT, INDENT, width)


def _wrapped(text: str, first: str, further: str, width: int) -> Iterator[str]:
    room = max(width - len(first), LEAST_WIDTH)
    start, *rest = textwrap.wrap(text, room, break_long_words=False, break_on_hyphens=False) or [""]
    yield f"{first}{start}".rstrip()
    yield from (further + line for line in rest)


def _width() -> int:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNWRAPPED
