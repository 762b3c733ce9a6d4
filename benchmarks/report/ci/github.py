# SPDX-License-Identifier: Apache-2.0
"""What GitHub Actions shows by itself: annotations next to the job, and the job's summary."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.parity.rows import Report
from edgeferry.benchmarks.report.ci.pull_request import report_as_summary
from edgeferry.benchmarks.report.summary import findings
from edgeferry.models.system.text import plain

# Set by the runner; docs.github.com, "Store information in variables".
RUNS_HERE: Final = "GITHUB_ACTIONS"
SUMMARY: Final = "GITHUB_STEP_SUMMARY"
LEVELS: Final = {"failed": "error", "inconclusive": "warning"}


def annotations(report: Report) -> Iterator[str]:
    """Yield a workflow command for every reason of a failure or of an inconclusive result, none outside of GitHub Actions."""
    if os.environ.get(RUNS_HERE) != "true":
        return
    model = plain(report.model)
    for each in report.unmet:
        yield _command("error", f"{model}: not met", plain(each))
    for found in findings(report.rows):
        if level := LEVELS.get(found.outcome):
            yield _command(level, f"{model}: {found.where} {found.outcome}", found.sentence)


def append_step_summary(report: Report) -> None:
    """Append the Markdown summary to the file that GitHub Actions names, where it names one.

    Raises:
        OSError: the file cannot be written.
    """
    if named := os.environ.get(SUMMARY):
        with Path(named).open("a", encoding="utf-8") as file:
            file.write(report_as_summary(report) + "\n")


def _command(level: str, title: str, message: str) -> str:
    """Return a workflow command, escaped as GitHub's own toolkit does (actions/toolkit, packages/core/src/command.ts)."""
    return f"::{level} title={_escaped(title, in_property=True)}::{_escaped(message)}"


def _escaped(text: str, *, in_property: bool = False) -> str:
    pairs = {"%": "%25", "\r": "%0D", "\n": "%0A", **({":": "%3A", ",": "%2C"} if in_property else {})}
    return "".join(pairs.get(letter, letter) for letter in text)
