# SPDX-License-Identifier: Apache-2.0
"""What every form of the report says in words: the verdict, counts, reasons, notes, tolerances, environments."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from edgeferry.benchmarks.parity.judging.metric import metrics
from edgeferry.benchmarks.parity.outcome import OUTCOMES, Outcome
from edgeferry.benchmarks.parity.rows import NO_TARGET, Report, Row
from edgeferry.benchmarks.report.words import ABSENT, milliseconds, percent
from edgeferry.models.system.text import plain

# By exit status.
VERDICTS: Final = ("parity held", "parity did not hold", "nothing was checked")
# Reasons are sorted by these, what needs attention first.
HEADINGS: Final[Mapping[Outcome, str]] = {
    "failed": "Failed",
    "inconclusive": "Inconclusive",
    "not checked": "Not checked",
    "unsupported": "Unsupported by the runtime",
    "not run": "Not run here",
}
LATENCY_NOTE: Final = "Latency is the median of this run, for information; it is not a benchmark."
# Of the environment, what has a better name than its key.
NAMES: Final = {"first_ms": "first inference"}


class Finding(NamedTuple):
    """One reason, the code of the error that it is, and every row it holds for."""

    outcome: Outcome
    where: str
    reason: str
    code: str | None = None

    @property
    def sentence(self) -> str:
        """Return the reason, and the error's code where it has one."""
        return f"{self.reason} [{self.code}]" if self.code else self.reason


def findings(rows: Iterable[Row]) -> list[Finding]:
    """Return the reasons of all rows that did not pass, failures first; formats with the same reason share one.

    Results that are out of date are left out.
    """
    formats: dict[tuple[Outcome, str, str, str | None], list[str]] = {}
    for row in rows:
        if row.outcome in HEADINGS and not row.outdated:
            code = row.verdict.code and plain(row.verdict.code)
            reason = row.outcome, plain(row.target), plain(row.reason), code
            formats.setdefault(reason, []).append(plain(row.format))
    found = [
        Finding(outcome, ", ".join(names) + (f" on {target}" if target != NO_TARGET else ""), reason or "no reason given", code)
        for (outcome, target, reason, code), names in formats.items()
    ]
    return sorted(found, key=lambda finding: list(HEADINGS).index(finding.outcome))


def notes(report: Report) -> list[str]:
    """Return what a reader of the numbers must know."""
    return [LATENCY_NOTE, *_software_note(report), *_emulated_note(report), *_outdated_notes(report.rows)]


def _outdated_notes(rows: Iterable[Row]) -> list[str]:
    """Return a line for every reason that results of earlier runs are out of date."""
    places: dict[str, list[str]] = {}
    for row in rows:
        if row.outdated:
            places.setdefault(plain(row.outdated), []).append(f"{plain(row.format)} on {plain(row.target)}")
    return [f"Out of date, not counted: {', '.join(found)}: {reason}." for reason, found in places.items()]


def _software_note(report: Report) -> list[str]:
    software = [row for row in report.rows if row.environment.get("software_gpu")]
    if not software:
        return []
    places, images = (
        ", ".join(dict.fromkeys(plain(row.target) for row in software)),
        [row.verdict.images or 0 for row in software],
    )
    return [f"On a software-rendered GPU, for parity only: {max(images)} of {report.images} images, not timed: {places}."]


def _emulated_note(report: Report) -> list[str]:
    emulated = [row for row in report.rows if row.environment.get("emulated")]
    if not emulated:
        return []
    places = ", ".join(dict.fromkeys(plain(row.target) for row in emulated))
    return [f"On processors that QEMU emulates, for parity only, not timed: {places}."]


def counted(rows: Iterable[Row]) -> dict[Outcome, int]:
    """Return how many rows there are of each outcome; passed and failed are always named, the others where there are some."""
    outcomes = [row.outcome for row in rows if not row.outdated]
    return {outcome: outcomes.count(outcome) for outcome in OUTCOMES if outcome in {"passed", "failed", *outcomes}}


def summary(report: Report) -> str:
    """Return how many rows there are of each outcome, and the Keras model's own accuracy, as one line."""
    counts = ", ".join(f"{number} {outcome}" for outcome, number in counted(report.rows).items())
    return f"{counts}; {accuracy_of(report)}"


def accuracy_of(report: Report) -> str:
    """Return the Keras model's accuracy with its number of images, or that it is unknown."""
    if report.reference_accuracy is None:
        return f"reference accuracy unknown, the {report.images} golden images have no labels"
    return f"reference accuracy {percent(report.reference_accuracy)} of {report.images} images"


def tolerance_of(row: Row) -> str:
    """Return the tolerance of a row and its reason as a sentence."""
    if row.tolerance is None:
        return ABSENT
    limits = [metric.tolerated(row.tolerance) for metric in metrics().values() if metric.tolerance]
    return f"{', '.join(limits)}: {row.tolerance.reason}"


def environment_of(row: Row) -> str:
    """Return what really ran as text: ``runtime litert, threads 2, first inference 138 ms``."""
    return ", ".join(_fact(str(name), value) for name, value in row.environment.items()) or ABSENT


def said(value: Any) -> str:
    """Return a value as people write it: yes, no, none, lists without brackets, four significant digits."""
    if isinstance(value, Mapping):
        return ", ".join(_fact(str(name), each) for name, each in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(said, value)) or "none"
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _fact(name: str, value: Any) -> str:
    is_time = name.endswith("_ms") and isinstance(value, int | float)
    shown = NAMES.get(name, (name.removesuffix("_ms") if is_time else name).replace("_", " "))
    return f"{shown} {milliseconds(value) if is_time else said(value)}"
