# SPDX-License-Identifier: Apache-2.0
"""All costs of one artifact on one target, measured one artifact at a time, after the latencies; these are not ratios."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeferry.benchmarks.latency.costs.cost import Cost, CostNumbers, known_costs
from edgeferry.benchmarks.latency.costs.operations import operations_of
from edgeferry.benchmarks.parity.one_run import JOB_TIMEOUT_S
from edgeferry.models.system.child import Child, ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job, OperationTime


@dataclass
class MeasuredCosts:
    """Numbers by the names of costs, what goes into the environment, the operations, and why some of it was not measured."""

    numbers: dict[str, float | None] = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=dict)
    operations: list[OperationTime] = field(default_factory=list)
    problem: str = ""

    def add(self, found: CostNumbers) -> None:
        """Add what one function measured."""
        self.numbers |= found.numbers
        self.facts |= found.facts

    def add_problem(self, what: str, error: Exception) -> None:
        """Add that something was not measured, and why."""
        self.problem = "; ".join(filter(None, [self.problem, f"not measured: {what}: {error}"]))


def costs_of_files(target: str, job: Job) -> dict[str, float | None]:
    """Return the costs that follow from an artifact's files alone."""
    found = MeasuredCosts()
    for measure in _functions(needs_runtime=False):
        found.add(measure(target, job))
    return found.numbers


def costs_of_running(target: str, job: Job) -> MeasuredCosts:
    """Return what an artifact costs, each part in a process of its own: a profiler or a log slows down what runs with it."""
    found, log = MeasuredCosts(), job.work / "costs.log"
    for measure, costs in _functions(needs_runtime=True).items():
        try:
            found.add(_in_own_process(measure, target, job, log))
        except (EdgeError, ChildError) as error:
            found.add_problem(", ".join(cost.title for cost in costs if cost.is_column), error)
    try:
        found.operations = _in_own_process(operations_of, target, job, log)
    except (EdgeError, ChildError) as error:
        found.add_problem("operations", error)
    return found


def costs_reported(environment: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the costs that a target which measures itself (a board, an old runtime, an endpoint) reports with its times."""
    return {name: environment[name] for name in known_costs() if environment.get(name) is not None}


def _functions(*, needs_runtime: bool) -> dict[Callable[[str, Job], CostNumbers], list[Cost]]:
    """Return the functions that measure, each once, with the costs that name it."""
    functions: dict[Callable[[str, Job], CostNumbers], list[Cost]] = {}
    for cost in known_costs().values():
        if cost.needs_runtime is needs_runtime:
            functions.setdefault(cost.measure, []).append(cost)
    return functions


def _in_own_process(function: Callable[[str, Job], Any], target: str, job: Job, log: Path) -> Any:
    with Child() as child:
        return child.call(function, target, job, log=log, timeout_s=JOB_TIMEOUT_S)
