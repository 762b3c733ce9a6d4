# SPDX-License-Identifier: Apache-2.0
"""Rows and reports from what JSON holds; whatever is not one is refused."""

from collections.abc import Mapping
from dataclasses import fields
from types import UnionType
from typing import Any, Final, Literal, get_args, get_origin

from edgeferry.benchmarks.parity.outcome import Flip, Verdict
from edgeferry.benchmarks.parity.rows import Report, Row
from edgeferry.models.artifact import Tolerance

LISTS: Final = ("targets", "formats", "labels", "required", "unmet")


def report_of(data: Mapping[str, Any]) -> Report:
    """Return a report; raises ValueError, TypeError, KeyError or AttributeError for what is not one."""
    report = Report(**{**data, "rows": tuple(row_of(row) for row in data["rows"]), **{name: tuple(data[name]) for name in LISTS}})
    _check(report)
    return report


def row_of(data: Mapping[str, Any]) -> Row:
    """Return a row; raises ValueError, TypeError, KeyError or AttributeError for what is not one."""
    flips = tuple(map(_flip, data["verdict"]["flips"]))
    verdict = Verdict(**{**data["verdict"], "flips": flips})
    _check(verdict)
    for flip in flips:
        _check(flip)
    for name, value in verdict.metrics.items():
        if not _fits(value, float | None):
            raise ValueError(f"metric {name} is {value!r:.60}")
    tolerance = None if data["tolerance"] is None else Tolerance(**data["tolerance"])
    row = Row(**{**data, "verdict": verdict, "tolerance": tolerance})
    _check(row)
    if tolerance is not None:
        _check(tolerance)
    return row


def _flip(data: Mapping[str, Any]) -> Flip:
    fields_of_flip: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
    return Flip(**fields_of_flip)


def _check(record: Report | Row | Verdict | Flip | Tolerance) -> None:
    for item in fields(record):
        value = getattr(record, item.name)
        if not _fits(value, item.type):
            raise ValueError(f"{item.name} is {value!r:.60}")


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    kinds = get_args(kind) if isinstance(kind, UnionType) else (kind,)
    return any(isinstance(value, (int, float) if one is float else get_origin(one) or one) for one in kinds)
