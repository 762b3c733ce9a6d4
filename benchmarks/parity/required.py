# SPDX-License-Identifier: Apache-2.0
"""What a user requires to pass, ``FORMAT`` or ``FORMAT@TARGET``, so that no job succeeds with a check missing."""

from collections.abc import Iterator, Sequence
from typing import Final

from edgeferry.benchmarks.parity.rows import Row
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.registry import refuse_unknown

# Outcomes that say nothing against an artifact: another target may have checked it.
SAY_NOTHING: Final = frozenset({"not run", "unsupported"})


def check_required(required: Sequence[str], source: str) -> None:
    """Refuse a requirement that names no format or no target.

    Raises:
        EdgeError: names where it was found, and what is close to it.
    """
    # Only a list of requirements needs the registries; the results of a report are read without.
    from edgeferry.exporters.format import formats
    from edgeferry.targets.target import targets

    for each in required:
        form, at, target = each.partition("@")
        try:
            refuse_unknown((form,), formats(), "format")
            refuse_unknown((target,) if at else (), targets(), "target")
        except EdgeError as error:
            raise EdgeError(error.code, f"{source} {each!r}: {error}") from None


def targets_in(required: Sequence[str]) -> Iterator[str]:
    """Yield the targets that requirements name."""
    yield from (target for each in required if (target := each.partition("@")[2]))


def unmet(rows: Sequence[Row], required: Sequence[str]) -> Iterator[str]:
    """Yield a sentence for every requirement that the rows do not meet.

    ``FORMAT@TARGET`` is met where that result passed; ``FORMAT`` where it passed on at least one target, and on every other
    passed, is unsupported or was not run.
    """
    for each in required:
        short = falling_short(rows, each)
        if short is None:
            continue
        if short and (short[0].outcome not in SAY_NOTHING or "@" in each):
            yield f"{each} is required to pass: {short[0].outcome} on {short[0].target}"
        else:
            yield f"{each} is required to pass: " + (f"{short[0].outcome}, {short[0].reason}" if short else "it was not checked")


def falling_short(rows: Sequence[Row], requirement: str) -> tuple[Row, ...] | None:
    """Return the rows because of which a requirement is not met, none where there is no row for it; None where it is met."""
    form, at, target = requirement.partition("@")
    found = [row for row in rows if row.format == form and (not at or row.target == target) and not row.outdated]
    against = [row for row in found if row.outcome != "passed" and (at or row.outcome not in SAY_NOTHING)]
    if not against and any(row.outcome == "passed" for row in found):
        return None
    return tuple(against or found)
