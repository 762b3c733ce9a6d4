# SPDX-License-Identifier: Apache-2.0
"""The columns of a table of costs, the same for terminal, Markdown and page."""

from collections.abc import Sequence

from edgeferry.benchmarks.latency.costs.cost import Cost, known_costs
from edgeferry.benchmarks.latency.records import Case
from edgeferry.benchmarks.report.words import ABSENT


def cost_columns(cases: Sequence[Case]) -> list[Cost]:
    """Return the costs that some case has a number for; a column of nothing is left out."""
    return [cost for cost in _columns() if any(case.costs.get(cost.name) is not None for case in cases)]


def cost_text(cost: Cost, case: Case) -> str:
    """Return one cost of a case for people, or '-' where it was not measured."""
    number = case.costs.get(cost.name)
    return ABSENT if number is None else cost.text(number, case)


def costs_note(cases: Sequence[Case]) -> str:
    """Return what each column means, and which costs no case has a number for."""
    shown = cost_columns(cases)
    missing = [cost.title for cost in _columns() if cost not in shown]
    meanings = " ".join(f"{cost.title.capitalize()}: {cost.meaning}." for cost in shown)
    return meanings + (f" Not measured in this run: {', '.join(missing)}." if missing else "")


def _columns() -> list[Cost]:
    return [cost for cost in known_costs().values() if cost.is_column]
