# SPDX-License-Identifier: Apache-2.0
"""The report as Markdown short enough for a pull request: failures first, what passed counted, what was not run folded."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.parity.rows import Report, exit_status
from edgeferry.benchmarks.report.ci.output import CiOutput
from edgeferry.benchmarks.report.summary import HEADINGS, VERDICTS, Finding, findings, summary
from edgeferry.benchmarks.report.words import escaped

# GitHub takes comments of 65,536 characters, of which a job may write some itself.
MOST_CHARACTERS: Final = 60_000
# Of a reason, or of the names of the formats that share it.
MOST_OF_A_TEXT: Final = 400
# What a reader opens only on demand: it says nothing against an artifact.
FOLDED: Final = frozenset({"unsupported", "not run"})


def report_as_summary(report: Report, _build: Path | None = None) -> str:
    """Return the verdict, the counts and every reason, at most MOST_CHARACTERS long; what is left out is counted."""
    lines = [f"### {escaped(report.model)}: {VERDICTS[exit_status(report.rows, report.unmet)]}", "", f"{summary(report)}.", ""]
    lines += [line for each in report.unmet for line in (f"**Not met**: {escaped(_cut(each))}", "")]
    lines += _reasons(findings(report.rows))
    return _shortened(lines)


def _reasons(found: list[Finding]) -> Iterator[str]:
    for outcome, heading in HEADINGS.items():
        ours = [one for one in found if one.outcome == outcome]
        if not ours:
            continue
        bullets = [f"- **{escaped(_cut(one.where))}**: {escaped(_cut(one.sentence))}" for one in ours]
        if outcome in FOLDED:
            # Markdown inside of HTML needs the empty lines. The element is one line here, so that cutting never leaves it open.
            yield from ("\n".join((f"<details><summary>{heading}</summary>", "", *bullets, "", "</details>")), "")
        else:
            yield from (f"**{heading}**", "", *bullets, "")


def _cut(text: str) -> str:
    return text if len(text) <= MOST_OF_A_TEXT else f"{text[:MOST_OF_A_TEXT]} ..."


def _shortened(lines: list[str]) -> str:
    """Return the lines that there is room for, and how many more there are."""
    room, kept = MOST_CHARACTERS, []
    for line in lines:
        room -= len(line) + 1
        if room < 0:
            break
        kept.append(line)
    left = sum(bool(line) for line in lines[len(kept) :])
    return "\n".join([*kept, *(["", f"{left} more in report.md."] if left else [])]).rstrip("\n") + "\n"


OUTPUTS = (CiOutput("summary", "Write a short Markdown summary for a pull request to this file.", report_as_summary),)
