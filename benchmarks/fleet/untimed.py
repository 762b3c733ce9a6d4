# SPDX-License-Identifier: Apache-2.0
"""What of a report does not depend on when, where and how fast it was made: the same for any number of shards."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from edgeferry.benchmarks.parity.rows import Report

# How the names of times in a row's environment end.
TIME: Final = "_ms"


def untimed(report: Report) -> Report:
    """Return a report without dates, the machine, and all that was timed."""
    rows = tuple(
        replace(row, checked="", seconds=None, latency_ms_median=None, load_ms=None, environment=untimed_facts(row.environment))
        for row in report.rows
    )
    return replace(report, rows=rows, machine={}, created="")


def untimed_facts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts about a run without the times among them."""
    kept = {name: each for name, each in facts.items() if not name.endswith(TIME)}
    return {name: untimed_facts(each) if isinstance(each, Mapping) else each for name, each in kept.items()}
