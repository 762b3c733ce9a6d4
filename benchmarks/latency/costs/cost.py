# SPDX-License-Identifier: Apache-2.0
"""What a cost is, and which there are: a module anywhere below benchmarks registers its costs in a tuple named COSTS."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import edgeferry.benchmarks
from edgeferry.models.system.registry import records_in
from edgeferry.targets.target import Job

if TYPE_CHECKING:
    from edgeferry.benchmarks.latency.records import Case


@dataclass(frozen=True)
class CostNumbers:
    """What was measured: numbers by the names of costs, None where this machine or target does not report one.

    ``facts`` are added to the case's environment: how a number was measured, where there are several ways.
    """

    numbers: Mapping[str, float | None]
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cost:
    """Something that an artifact costs on a target, as one number; JSON, tables and pages are generated from these records.

    ``name`` is its key in latency.json: lower-case words, the unit last. ``title`` heads its column, ``meaning`` is a phrase that
    explains the number. ``text(number, case)`` writes it for people. ``measure(target, job)`` returns its number: a function of
    a module, called in a process of its own; costs that name the same function are measured together, by one call. A target that
    measures itself (a board, an endpoint) reports a cost in its environment under the same name instead. Where ``needs_runtime``
    is False the number follows from the artifact's files alone: the function is called in this process, for every artifact,
    and its target is not used. A cost that is not ``is_column`` explains another: the size of a batch.
    """

    name: str
    title: str
    unit: str
    meaning: str
    text: "Callable[[float, Case], str]"
    measure: Callable[[str, Job], CostNumbers]
    needs_runtime: bool = True
    is_column: bool = True


@cache
def known_costs() -> dict[str, Cost]:
    """Return every cost by name, those of the files first; imports no framework."""
    found = [cost for _, cost in records_in(edgeferry.benchmarks, "COSTS")]
    return {cost.name: cost for cost in sorted(found, key=lambda cost: cost.needs_runtime)}


def cost_definitions() -> dict[str, dict[str, str]]:
    """Return what latency.json says about every cost: its title, unit and meaning, by name."""
    return {cost.name: {"title": cost.title, "unit": cost.unit, "meaning": cost.meaning} for cost in known_costs().values()}
