# SPDX-License-Identifier: Apache-2.0
"""What an audit found: warnings, kept with the reference, and errors, of which all are reported at once."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgeferry.models.system.errors import EdgeError

Subject = Literal["golden", "calibration", "config", "model"]
Severity = Literal["warning", "note"]


@dataclass(frozen=True)
class AuditFinding:
    """One thing that a user should know: a stable code, how much it matters, what it is about, and a sentence."""

    code: str
    severity: Severity
    subject: Subject
    sentence: str


def findings_of(fields: Iterable[dict[str, Any]]) -> tuple[AuditFinding, ...]:
    """Return the findings that JSON holds; raises TypeError for any other fields."""
    return tuple(AuditFinding(**each) for each in fields)


def raise_all(problems: Sequence[EdgeError]) -> None:
    """Raise what is wrong, as it is where it is one thing, or all of it in one error.

    Raises:
        EdgeError: there is a problem.
    """
    if len(problems) == 1:
        raise problems[0]
    if problems:
        listed = " ".join(f"({number}) {problem} [{problem.code}]" for number, problem in enumerate(problems, 1))
        raise EdgeError("EF-data-problems", f"{len(problems)} things are wrong with the images: {listed}")


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Return names as text, the first few of many: ``a, b, c and 17 more``."""
    shown = ", ".join(names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
