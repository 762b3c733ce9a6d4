# SPDX-License-Identifier: Apache-2.0
"""What a latency run measured: a case for every artifact on every target, in latency.json, and one line a run in a history."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from edgeferry.benchmarks.latency.costs import Costs
from edgeferry.benchmarks.latency.percentiles import percentile_ms
from edgeferry.benchmarks.latency.ratio import Clock, Ratio, Verdict
from edgeferry.models.system.files import append_line, read_record, write_json
from edgeferry.targets.target import OperationTime

# History: 1, the first; 2 adds what artifacts cost beside latency, 3 arenas and what told the energy, 4 memory on a GPU.
SCHEMA: Final = 4
LATENCY: Final = "latency.json"
# One line a run; its schema is its own: 1, the first.
HISTORY: Final = "latency.jsonl"
HISTORY_SCHEMA: Final = 1

Outcome = Literal["measured", "failed", "not run"]
Grade = Literal["good", "fair", "poor"]
Weight = Literal["remark", "doubt", "serious"]


def case_name(form: str, target: str, threads: int) -> str:
    """Return what a case is called: ``tflite-int8 on litert, 2 threads``."""
    return f"{form} on {target}" + (f", {threads} threads" if threads > 1 else "")


@dataclass(frozen=True)
class Notice:
    """Something a reader of a figure must know: what was seen, and what to do about it; a remark lowers no grade."""

    what: str
    advice: str
    weight: Weight = "doubt"


@dataclass(frozen=True)
class Case:
    """One artifact on one target.

    ``wall_ms`` and ``cpu_ms`` are milliseconds a call, one list a launch; ``cpu_ms`` is empty where the place times itself.
    ``calls`` is how many calls a sample is of, the median of their parts. ``load_ms`` and ``first_ms`` have one entry a launch.
    ``in_turns`` says whether it was timed in turns with the others, so that its ratio to them may be told; what times itself (a
    board, a browser) was timed in one block. A case that failed keeps the samples it has. ``bytes`` is the size of the artifact's
    files, ``compressed_bytes`` as gzip packs them. ``agrees`` says whether the answers of the timed calls were within the
    artifact's tolerance, None where none was timed. ``costs`` is None where they were not measured.
    """

    format: str
    target: str
    state: Outcome
    reason: str
    in_turns: bool = False
    threads: int = 1
    artifact_sha256: str | None = None
    bytes: int | None = None
    compressed_bytes: int | None = None
    load_ms: list[float] = field(default_factory=list)
    first_ms: list[float] = field(default_factory=list)
    wall_ms: list[list[float]] = field(default_factory=list)
    cpu_ms: list[list[float]] = field(default_factory=list)
    calls: int = 1
    agrees: bool | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    warnings: list[Notice] = field(default_factory=list)
    grade: Grade | None = None
    costs: Costs | None = None

    @property
    def name(self) -> str:
        """Return what it is called, in the run too."""
        return case_name(self.format, self.target, self.threads)

    @property
    def samples_ms(self) -> list[float]:
        """Return all wall times of all launches, milliseconds a call."""
        return [time for launch in self.wall_ms for time in launch]

    def percentile_ms(self, percentile: float) -> float | None:
        """Return a percentile of the wall times; None where there are too few, and of means all but the median."""
        return None if self.calls > 1 and percentile != 50 else percentile_ms(self.samples_ms, percentile)


@dataclass(frozen=True)
class Compared:
    """How many times as long a case takes as the baseline, of one run and in turns; ``by`` names the clock that decides."""

    format: str
    target: str
    threads: int
    ratio: Ratio
    by: Clock
    verdict: Verdict


@dataclass(frozen=True)
class Latencies:
    """One run of one model. ``baseline`` names the case that the others are compared with, ``null`` is it beside itself.

    ``machine`` is what machine.py tells: facts of the machine before and after.
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
    compared: list[Compared] = field(default_factory=list)
    interrupted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what latency.json holds."""
        return {"schema": SCHEMA, **asdict(self)}


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
    told = {"schema": HISTORY_SCHEMA, "created": found.created, "machine": found.machine, "cases": cases}
    append_line(folder / HISTORY, json.dumps(told, ensure_ascii=False))


@dataclass(frozen=True)
class Past:
    """An earlier run: when, on what machine, and the median and digest of every artifact measured, by the case's name."""

    created: str
    machine: dict[str, Any]
    medians_ms: dict[str, float]
    artifacts: dict[str, str]


def read_history(folder: Path) -> tuple[list[Past], int]:
    """Return a model's runs, oldest first, and how many lines cannot be read: cut short, or of another schema."""
    runs, unread = [], 0
    try:
        lines = (folder / HISTORY).read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return [], 0
    for line in lines:
        try:
            runs.append(_past_of(json.loads(line)))
        except (ValueError, KeyError, TypeError):
            unread += 1
    return runs, unread


def _past_of(told: dict[str, Any]) -> Past:
    if told["schema"] != HISTORY_SCHEMA:
        raise ValueError(f"schema {told['schema']!r:.40}")
    cases = {case_name(each["format"], each["target"], each["threads"]): each for each in told["cases"]}
    medians = {name: float(each["median_ms"]) for name, each in cases.items() if each["median_ms"] > 0}
    artifacts = {name: str(each["artifact_sha256"]) for name, each in cases.items()}
    return Past(str(told["created"]), dict(told["machine"]), medians, artifacts)


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


def latencies_of(told: dict[str, Any]) -> Latencies:
    """Return a run from what JSON tells; raises ValueError, TypeError, KeyError or AttributeError for what is not one."""
    cases = [_case_of(each) for each in told["cases"]]
    compared = [Compared(**{**each, "ratio": Ratio(**each["ratio"])}) for each in told["compared"]]
    null = None if told["null"] is None else Ratio(**told["null"])
    for case in cases:
        if case.state not in get_args(Outcome):
            raise ValueError(f"a case is {case.state!r:.40}")
    return Latencies(**{**told, "cases": cases, "compared": compared, "null": null})


def _case_of(told: dict[str, Any]) -> Case:
    costs = told["costs"]
    if costs is not None:
        costs = Costs(**{**costs, "operations": [OperationTime(**each) for each in costs["operations"]]})
    return Case(**{**told, "warnings": [Notice(**each) for each in told["warnings"]], "costs": costs})
