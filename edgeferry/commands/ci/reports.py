# SPDX-License-Identifier: Apache-2.0
"""The options that write a report for a CI system, one for each output that is registered, and what GitHub Actions shows."""

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeferry.benchmarks.report.ci.output import ci_outputs
from edgeferry.commands.arguments import note

if TYPE_CHECKING:
    from edgeferry.benchmarks.parity.rows import Report

# The files that a user named, by the name of the output.
CiFiles = Mapping[str, Path]


def with_ci_files(command: Callable[..., None]) -> Callable[..., None]:
    """Return a command with an option ``--<output> FILE`` for each output; it is called with ``ci_files``, those that are given.

    The command declares ``ci_files`` as its last keyword.
    """
    outputs = ci_outputs()

    @wraps(command)
    def with_options(*arguments: Any, **options: Any) -> None:
        files = {name: options.pop(name) for name in outputs if name in options}
        command(*arguments, ci_files={name: path for name, path in files.items() if path is not None}, **options)

    own = [each for each in inspect.signature(command).parameters.values() if each.name != "ci_files"]
    added = {
        each.name: Annotated[Path | None, typer.Option(f"--{each.name}", metavar="FILE", help=each.help)]
        for each in outputs.values()
    }
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind) for name, kind in added.items()
    ]
    # Typer reads both.
    with_options.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in own} | added
    return with_options


def write_ci_files(report: "Report", build: Path, files: CiFiles) -> None:
    """Write a report in each form that was asked for.

    Raises:
        EdgeError: a file cannot be written.
    """
    from edgeferry.models.system.files import write_whole

    for name, path in files.items():
        write_whole(path, ci_outputs()[name].text(report, build))


def show_on_github(report: "Report") -> None:
    """In a job of GitHub Actions, print annotations and append to the job's summary."""
    from edgeferry.benchmarks.report.ci.github import annotations, append_step_summary

    for line in annotations(report):
        typer.echo(line)
    try:
        append_step_summary(report)
    except OSError as error:
        # It is no reason to end a check with another status.
        note(f"the summary of the job cannot be written: {error}")
