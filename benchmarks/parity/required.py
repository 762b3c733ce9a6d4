# SPDX-License-Identifier: Apache-2.0
"""What a user requires to pass, ``FORMAT`` or ``FORMAT@TARGET``, so that no job succeeds with a check missing."""

from collections.abc import Iterator, Sequence
from typing import Final

from edgeferry.benchmarks.parity.rows import Row
from edgeferry.exporters.format import formats
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.registry import refuse_unknown
from edgeferry.targets.target import targets

# Outcomes that say nothing against an artifact: another target may have checked it.
SAY_NOTHING: Final = frozenset({"not run", "unsupported"})


def check_required(required: Sequence[str], source: str) -> None:
    """Refuse a requirement that names no format or no target.

    Raises:
        EdgeError: names where it was found, and what is close to it.
    """
    for each in required:
        form, at, target = each.partition("@")
        try:
            refuse_unknown((form,), formats(), "format")
            refuse_unknown((target,) if at else (), targets(), "target")
        except EdgeError as error:
            raise EdgeError(error.code, f"{source} {each!r}: {error}") from None


def unmet(rows: Sequence[Row], required: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for every requirement that the rows do not meet.

    ``FORMAT@TARGET`` is met where that result passed; ``FORMAT`` where it passed on at least one target, and on every other
    passed, is unsupported or was not run.
    """
    for each in required:
        form, at, target = each.partition("@")
        found = [row for row in rows if row.format == form and (not at or row.target == target) and not row.outdated]
        against = [row for row in found if row.outcome != "passed" and (at or row.outcome not in SAY_NOTHING)]
        if against:
            yield f"{each} is required to pass: {against[0].outcome} on {against[0].target}"
        elif not any(row.outcome == "passed" for row in found):
            yield f"{each} is required to pass: " + (f"{found[0].outcome}, {found[0].reason}" if found else "it was not checked")
