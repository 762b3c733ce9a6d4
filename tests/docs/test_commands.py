# SPDX-License-Identifier: Apache-2.0
"""Every command that README.md and the pages show exists, with its options; none of them is run."""

import re
import shlex
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
import typer

from edgeferry.commands.app import app
from edgeferry.exporters.format import formats
from edgeferry.models.system.places import ROOT
from edgeferry.targets.target import targets

PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE: Final = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```", re.DOTALL | re.MULTILINE)
SPAN: Final = re.compile(r"`((?:edgeferry|make) [^`\n]+)`")
MAKEFILE: Final = (ROOT / "Makefile").read_text(encoding="utf-8")
MAKE_TARGETS: Final = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
MAKE_VARIABLES: Final = set(re.findall(r"\$\((?:or \$\(|if )?([A-Z]+)\b", MAKEFILE))
# The command that a make target hands its ARGS to.
HANDED_TO: Final = {"export-all": "export-all", "parity": "check", "report": "report", "serve-browser": "demo"}
# Programs of others, whose options are not checked.
OTHERS: Final = {"cd", "curl", "docker", "jq", "mkdir", "pip"}


class Shown(NamedTuple):
    """A command as a page shows it; in running text it may lack its arguments."""

    page: str
    line: str
    is_whole: bool


def shown() -> Iterator[Shown]:
    for path in PAGES:
        page, text = path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")
        for language, body in FENCE.findall(text):
            if language == "sh":
                lines = body.replace("\\\n", " ").splitlines()
                yield from (Shown(page, line, is_whole=True) for line in lines if shlex.split(line, comments=True))
        yield from (Shown(page, line, is_whole=False) for line in SPAN.findall(FENCE.sub("", text)))


COMMANDS: Final = list(dict.fromkeys(shown()))


def problem_of(line: str, *, is_whole: bool) -> str:
    """Return what of a command does not exist, or nothing."""
    program, *words = shlex.split(line, comments=True)
    if Path(program).name == "edgeferry":
        return problem_of_edgeferry(words, is_whole=is_whole)
    if program == "make":
        return problem_of_make(words)
    if program == "python" and words[0] == "-m":
        return "" if find_spec(words[1]) else f"no module {words[1]}"
    return "" if program in OTHERS else f"no program {program}"


def problem_of_edgeferry(words: list[str], *, is_whole: bool) -> str:
    """Parse what follows ``edgeferry`` as the program does, and run nothing."""
    group: Any = typer.main.get_command(app)
    try:
        context = group.make_context("edgeferry", list(words))
        rest = [*getattr(context, "_protected_args", []), *context.args]
        name, command, arguments = group.resolve_command(context, rest)
        values = command.make_context(name, arguments, parent=context).params
    except Exception as error:  # noqa: BLE001 - Typer brings its own copy of click's classes: they are known by their names
        kind = type(error).__name__
        is_fine = kind == "Exit" or (kind == "MissingParameter" and not is_whole)
        return "" if is_fine else f"{kind}: {error}"
    known = {"formats": formats(), "form": formats(), "targets": targets(), "target": targets()}
    given = {name: [value] if isinstance(value, str) else list(value or ()) for name, value in values.items() if name in known}
    unknown = [each for name, named in given.items() for each in named if each not in known[name]]
    return f"not registered: {unknown}" if unknown else ""


def problem_of_make(words: list[str]) -> str:
    goals = [word for word in words if "=" not in word]
    variables = dict(word.split("=", 1) for word in words if "=" in word)
    if unknown := (set(goals) - MAKE_TARGETS) | (set(variables) - MAKE_VARIABLES):
        return f"not in the Makefile: {unknown}"
    handed = shlex.split(variables.get("ARGS", ""))
    if goals == ["test"]:
        return ", ".join(word for word in handed if "/" in word and not (ROOT / word).exists())
    if goals and goals[0] in HANDED_TO:
        return problem_of_edgeferry([HANDED_TO[goals[0]], "my.toml", *handed], is_whole=True)
    return ""


@pytest.mark.parametrize("command", COMMANDS, ids=lambda each: f"{each.page}: {each.line}")
def test_a_command_that_is_shown_exists_with_its_options(command: Shown) -> None:
    assert not problem_of(command.line, is_whole=command.is_whole)


def test_pages_show_commands() -> None:
    assert len(COMMANDS) > 50
    assert {"README.md", "docs/quickstart.md", "docs/targets/coral.md"} <= {each.page for each in COMMANDS}


@pytest.mark.parametrize(
    "line",
    [
        "edgeferry export-everything my.toml",
        "edgeferry check my.toml --treads 2",
        "edgeferry check my.toml --target litre",
        "edgeferry bench my.toml --threads two",
        "edgeferry inspect",
        "make export-everything",
        "make parity MODLE=my.toml",
        "make parity ARGS='--target litre'",
        "make test ARGS=tests/no_such_folder",
        "python -m edgeferry.nothing",
        "benchmarks latency my.toml",
    ],
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    assert problem_of(line, is_whole=True)
