# SPDX-License-Identifier: Apache-2.0
"""What to ship: for each kind of place the smallest and the fastest artifact that passed, and why the others lost."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from edgeferry.benchmarks.parity.rows import NO_TARGET, Report, Row
from edgeferry.benchmarks.report.words import milliseconds, percent, size
from edgeferry.exporters.shipping.places import PLACES, Place
from edgeferry.models.system.text import plain

# The fastest is named next to the smallest where it takes at most this part of its time: the rest is noise of one run.
FASTER: Final = 0.8
# What is worse, first.
ORDER: Final = ("failed", "inconclusive", "not checked", "unsupported", "not run")
REASON_SHOWN: Final = 100


@dataclass(frozen=True)
class Recommendation:
    """What to ship to a kind of place.

    ``smallest`` and ``fastest`` are rows of artifacts that passed, the same one where that is both; None where none did.
    ``lost`` says of every other format in a few words why it is not it.
    """

    place: Place
    smallest: Row | None
    fastest: Row | None
    lost: Mapping[str, str]

    @property
    def picks(self) -> tuple[tuple[str, Row], ...]:
        """Return what is recommended, each with the word for it."""
        if self.smallest is None:
            return ()
        if self.fastest is None or self.fastest.format == self.smallest.format:
            return (("smallest" if self.fastest is None else "smallest and fastest", self.smallest),)
        return ("smallest", self.smallest), ("fastest", self.fastest)

    def seen_there(self, row: Row) -> bool:
        """Return whether a row was measured on a target of this place."""
        return _is_there(self.place, row)


def recommendations(report: Report) -> tuple[Recommendation, ...]:
    """Return what to ship to each place for which something was exported."""
    rows = [row for row in report.rows if not row.outdated]
    found = (_recommended(place, [row for row in rows if place.may_take(row.format)]) for place in PLACES)
    return tuple(each for each in found if each.smallest or each.lost)


def partial(report: Report) -> str:
    """Return in words what a recommendation leaves out, or nothing."""
    asked = [*(f"formats {', '.join(report.formats)}" for _ in report.formats[:1])]
    asked += [f"targets {', '.join(report.targets)}" for _ in report.targets[:1]]
    missing = sum(row.outcome in {"not run", "not checked"} for row in report.rows)
    parts = [f"only {' and '.join(asked)} were asked for"] if asked else []
    parts += [f"{missing} results were not run or not checked"] if missing else []
    return f"A recommendation from a part of what there is: {'; '.join(parts)}." if parts else ""


def _recommended(place: Place, rows: Sequence[Row]) -> Recommendation:
    lost: dict[str, str] = {}
    sound: dict[str, Row] = {}
    for form in dict.fromkeys(row.format for row in rows):
        ours = [row for row in rows if row.format == form]
        # Of a format that runs elsewhere too, only what is seen there counts, where anything is.
        there = [row for row in ours if _is_there(place, row) and row.outcome in {"passed", "failed", "inconclusive"}] or ours
        worst = min(there, key=lambda row: ORDER.index(row.outcome) if row.outcome in ORDER else len(ORDER))
        passed = [row for row in there if row.outcome == "passed"]
        if worst.outcome in {"failed", "inconclusive"} or not passed:
            lost[form] = _said(worst)
        else:
            sound[form] = min(passed, key=lambda row: row.latency_ms_median or float("inf"))
    smallest = min(sound.values(), key=lambda row: (row.bytes or 0, row.latency_ms_median or float("inf")), default=None)
    fastest = _fastest(place, sound.values(), smallest)
    picked = {row.format for row in (smallest, fastest) if row}
    for form, row in sound.items():
        if form not in picked and smallest is not None:
            lost[form] = _compared(row, smallest)
    return Recommendation(place, smallest, fastest, lost)


def _fastest(place: Place, rows: Iterable[Row], smallest: Row | None) -> Row | None:
    timed = [row for row in rows if row.latency_ms_median is not None and _is_there(place, row)]
    fastest = min(timed, key=lambda row: row.latency_ms_median or 0.0, default=None)
    if fastest is None or smallest is None or smallest not in timed:
        return None
    return fastest if (fastest.latency_ms_median or 0) <= FASTER * (smallest.latency_ms_median or 0) else smallest


def _is_there(place: Place, row: Row) -> bool:
    return row.target.startswith(place.targets)


def _said(row: Row) -> str:
    where = "" if row.target == NO_TARGET else f" on {plain(row.target)}"
    reason = plain(row.reason)
    return f"{row.outcome}{where}: {reason if len(reason) <= REASON_SHOWN else reason[: REASON_SHOWN - 3] + '...'}"


def _compared(row: Row, smallest: Row) -> str:
    parts = [f"larger, {size(row.bytes)}" if (row.bytes or 0) > (smallest.bytes or 0) else f"as large, {size(row.bytes)}"]
    if row.latency_ms_median is not None:
        parts.append(milliseconds(row.latency_ms_median))
    return ", ".join(parts)


def evidence(row: Row) -> str:
    """Return in words what a row shows of an artifact: size, agreement, accuracy, latency and where."""
    shown, right = row.metric("agreement_shown"), row.metric("accuracy")
    parts = [size(row.bytes), f"at least {percent(shown)} agree" if shown is not None else ""]
    parts += [f"accuracy {percent(right)}" if right is not None else ""]
    parts += [f"{milliseconds(row.latency_ms_median)} on {plain(row.target)}" if row.latency_ms_median is not None else ""]
    return ", ".join(filter(None, parts))
