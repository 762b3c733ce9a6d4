# SPDX-License-Identifier: Apache-2.0
"""What a latency run measured: a case for every artifact on every target, in latency.json, and one line per run in a history."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from edgeferry.benchmarks.latency.ratio import Clock, Ratio, SpeedVerdict
from edgeferry.benchmarks.latency.samples import percentile_ms
from edgeferry.models.system.files import append_line, read_record, write_json
from edgeferry.targets.target import OperationTime

# History: 1, the first; 2 adds what artifacts cost in addition to latency, 3 arenas and the power meter, 4 memory on a GPU;
# 5 makes costs an object of numbers by name, sizes among them, with their definitions; a warning has a kind and a likely cause;
# a verdict may be "inconclusive" instead of "cannot tell".
SCHEMA: Final = 5
LATENCY: Final = "latency.json"
# One line per run; its schema is its own: 1, the first.
HISTORY: Final = "latency.jsonl"
HISTORY_SCHEMA: Final = 1

CaseState = Literal["measured", "failed", "not run"]
Grade = Literal["good", "fair", "poor"]
# A note lowers no grade.
Severity = Literal["note", "warning", "serious"]
WarningKind = Literal["machine", "other load", "heat", "GPU", "threads", "delegate", "scheduling", "distribution", "method"]


def case_name(form: str, target: str, threads: int) -> str:
    """Return the name of a case: ``tflite-int8 on litert, 2 threads``."""
    return f"{form} on {target}" + (f", {threads} threads" if threads > 1 else "")


@dataclass(frozen=True)
class TimingWarning:
    """Something a reader of a time must know: what was seen, the likely cause ('' where that is seen itself), what to do."""

    kind: WarningKind
    seen: str
    cause: str
    advice: str
    severity: Severity = "warning"

    @property
    def text(self) -> str:
        """Return it as one line."""
        return "; ".join(filter(None, [self.seen, self.cause and f"likely cause: {self.cause}", self.advice]))


@dataclass(frozen=True)
class Case:
    """One artifact on one target.

    ``wall_ms`` and ``cpu_ms`` are milliseconds per call, one list per launch; ``cpu_ms`` is empty where the target measures
    itself. ``calls`` is how many calls a sample is of, the median of means. ``load_ms`` and ``first_ms`` (the first inference)
    have one entry per launch. ``interleaved`` is whether it was timed in interleaved iterations with the others, so that its
    ratio to them is valid; a target that measures itself (a board, a browser) was timed in one block. A case that failed keeps
    the samples it has. ``agrees`` is whether the outputs of the timed calls were within the artifact's tolerance, None where
    none was timed. ``costs`` are numbers by the names of costs (costs/cost.py), None where one is not reported here;
    ``operations`` the time of each; ``costs_problem`` says why some of them were not measured.
    """

    format: str
    target: str
    state: CaseState
    reason: str
    interleaved: bool = False
    threads: int = 1
    artifact_sha256: str | None = None
    load_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    wall_ms: list[list[float]] = field(default_factory=list)
    cpu_ms: list[list[float]] = field(default_factory=list)
    calls: int = 1
    agrees: bool | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    warnings: list[TimingWarning] = field(default_factory=list)
    grade: Grade | None = None
    costs: dict[str, float | None] = field(default_factory=dict)
    operations: list[OperationTime] = field(default_factory=list)
    costs_problem: str = ""

    @property
    def name(self) -> str:
        """Return its name, the same in messages and tables."""
        return case_name(self.format, self.target, self.threads)

    @property
    def samples_ms(self) -> list[float]:
        """Return all wall times of all launches, milliseconds per call."""
        return [time for launch in self.wall_ms for time in launch]

    def percentile_ms(self, percentile: float) -> float | None:
        """Return a percentile of the wall times; None where there are too few, and of means all but the median."""
        return None if self.calls > 1 and percentile != 50 else percentile_ms(self.samples_ms, percentile)


@dataclass(frozen=True)
class BaselineRatio:
    """How many times as long a case takes as the baseline, interleaved in one run; ``by`` is the clock that decides."""

    format: str
    target: str
    threads: int
    ratio: Ratio
    by: Clock
    verdict: SpeedVerdict


@dataclass(frozen=True)
class Latencies:
    """One run of one model. ``baseline`` names the case that the others are compared with, ``null`` is its ratio to itself.

    ``machine`` is the machine's properties, and its state before and after (machine.py).
    """

    model: str
    source_sha256: str
    created: str
    machine: dict[str, Any]
    launches: int
    rounds: int
    cases: list[Case]
    baseline: str = ""
    null: Ratio | None = None
    compared: list[BaselineRatio] = field(default_factory=list)
    interrupted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the content of latency.json."""
        from edgeferry.benchmarks.latency.costs.cost import cost_definitions

        return {"schema": SCHEMA, **asdict(self), "cost_definitions": cost_definitions()}


def write_latencies(found: Latencies, folder: Path) -> None:
    """Write latency.json into a model's build folder, whole or not at all.

    Raises:
        EdgeError: the folder cannot be written.
    """
    write_json(folder / LATENCY, found.as_json())


def append_history(found: Latencies, folder: Path) -> None:
    """Append one line about a run to the history of the runs of a model.

    Raises:
        EdgeError: the folder cannot be written.
    """
    cases = [_line_of(case) for case in found.cases if case.state == "measured"]
    record = {"schema": HISTORY_SCHEMA, "created": found.created, "machine": found.machine, "cases": cases}
    append_line(folder / HISTORY, json.dumps(record, ensure_ascii=False))


@dataclass(frozen=True)
class PastRun:
    """An earlier run: when, on what machine, and the median and digest of every measured artifact, by the case's name."""

    created: str
    machine: dict[str, Any]
    medians_ms: dict[str, float]
    artifacts: dict[str, str]


def read_history(folder: Path) -> tuple[list[PastRun], int]:
    """Return a model's runs, oldest first, and how many lines cannot be read: cut short, or of another schema."""
    runs, unread = [], 0
    try:
        lines = (folder / HISTORY).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return [], 0
    for line in lines:
        try:
            runs.append(_past_run(json.loads(line)))
        except (ValueError, KeyError, TypeError):
            unread += 1
    return runs, unread


def _past_run(record: dict[str, Any]) -> PastRun:
    if record["schema"] != HISTORY_SCHEMA:
        raise ValueError(f"schema {record['schema']!r:.40}")
    cases = {case_name(each["format"], each["target"], each["threads"]): each for each in record["cases"]}
    medians = {name: float(each["median_ms"]) for name, each in cases.items() if each["median_ms"] > 0}
    artifacts = {name: str(each["artifact_sha256"]) for name, each in cases.items()}
    return PastRun(str(record["created"]), dict(record["machine"]), medians, artifacts)


def _line_of(case: Case) -> dict[str, Any]:
    return {
        "format": case.format,
        "target": case.target,
        "threads": case.threads,
        "artifact_sha256": case.artifact_sha256,
        "median_ms": statistics.median(case.samples_ms),
        "p90_ms": case.percentile_ms(90),
        "grade": case.grade,
        "environment": case.environment,
    }


def read_latencies(path: Path) -> Latencies:
    """Return the run that a latency.json holds.

    Raises:
        EdgeError: the file is missing, cut short, or not of this schema.
    """
    return read_record(path, SCHEMA, latencies_of, "latencies", "make bench")


def latencies_of(fields: dict[str, Any]) -> Latencies:
    """Return a run from its JSON; raises ValueError, TypeError, KeyError or AttributeError for what is not one."""
    cases = [_case_of(each) for each in fields["cases"]]
    compared = [BaselineRatio(**{**each, "ratio": Ratio(**each["ratio"])}) for each in fields["compared"]]
    null = None if fields["null"] is None else Ratio(**fields["null"])
    for case in cases:
        if case.state not in get_args(CaseState):
            raise ValueError(f"a case is {case.state!r:.40}")
    rest = {name: value for name, value in fields.items() if name != "cost_definitions"}
    return Latencies(**{**rest, "cases": cases, "compared": compared, "null": null})


def _case_of(fields: dict[str, Any]) -> Case:
    warnings = [TimingWarning(**each) for each in fields["warnings"]]
    costs = {str(name): None if number is None else float(number) for name, number in fields["costs"].items()}
    return Case(
        **{**fields, "warnings": warnings, "costs": costs, "operations": [OperationTime(**each) for each in fields["operations"]]}
    )
