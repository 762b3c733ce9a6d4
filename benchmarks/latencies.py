# SPDX-License-Identifier: Apache-2.0
"""What a latency run measured: a case for every artifact on every target, in latency.json, and one line a run in a history."""

import json
import statistics
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, get_args

from benchmarks.percentiles import samples_needed
from benchmarks.ratio import Ratio, Verdict
from models.errors import EdgeError
from models.files import append_line, write_json

# History: 1, the first.
SCHEMA: Final = 1
LATENCY: Final = "latency.json"
# One line a run; its schema is its own: 1, the first.
HISTORY: Final = "latency.jsonl"
HISTORY_SCHEMA: Final = 1

State = Literal["measured", "failed", "not run"]
Grade = Literal["good", "fair", "poor"]
Weight = Literal["remark", "doubt", "serious"]
Clock = Literal["CPU time", "wall time"]


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
    ``calls`` is how many calls a sample is the mean of. ``load_ms`` and ``first_ms`` have one entry a launch. ``in_turns`` says
    whether it was timed in turns with the others, so that its ratio to them may be told; what times itself (a board, a browser)
    was timed in one block. A case that failed keeps the samples it has. ``None`` is what was not measured. Memory and sizes are
    bytes: ``memory_bytes`` by how much the process grew at most from before loading until after the last call, ``arena_bytes``
    what the runtime itself says its tensors take. ``throughput_per_s`` is images a second by how many were asked at once.
    ``operations`` are the runtime's own profile: ``{"type", "name", "ms"}`` each, in the order they ran, milliseconds a call.
    ``agrees`` says whether the answers of the timed calls were within the artifact's tolerance.
    """

    format: str
    target: str
    state: State
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
    top1_agreement: float | None = None
    preprocess_ms: float | None = None
    postprocess_ms: float | None = None
    memory_bytes: int | None = None
    arena_bytes: int | None = None
    throughput_per_s: dict[str, float] = field(default_factory=dict)
    energy_mj: float | None = None
    operations: list[dict[str, Any]] = field(default_factory=list)
    environment: dict[str, Any] = field(default_factory=dict)
    warnings: list[Notice] = field(default_factory=list)
    grade: Grade | None = None

    @property
    def samples_ms(self) -> list[float]:
        """Return all wall times of all launches, milliseconds a call."""
        return [time for launch in self.wall_ms for time in launch]


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
    """One run of one model. ``baseline`` is [format, target] of what the others are compared with, ``null`` it beside itself.

    ``machine`` is what machine.py tells: facts of the machine before and after.
    """

    model: str
    source_sha256: str
    created: str
    machine: dict[str, Any]
    launches: int
    rounds: int
    cases: list[Case]
    baseline: list[str] = field(default_factory=list)
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


def _line_of(case: Case) -> dict[str, Any]:
    samples = sorted(case.samples_ms)
    known = len(samples) >= samples_needed(90)
    return {
        "format": case.format,
        "target": case.target,
        "threads": case.threads,
        "artifact_sha256": case.artifact_sha256,
        "median_ms": statistics.median(samples),
        "p90_ms": statistics.quantiles(samples, n=10)[-1] if known and case.calls == 1 else None,
        "grade": case.grade,
        "environment": case.environment,
    }


def read_latencies(path: Path) -> Latencies:
    """Return the run that a latency.json holds.

    Raises:
        EdgeError: the file is missing, cut short, or not of this schema.
    """
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.get("schema") != SCHEMA:
            raise EdgeError(f"{path} has schema {told.get('schema')!r}, this version reads {SCHEMA}; measure anew, `make bench`.")
        return latencies_of(told)
    except OSError as error:
        raise EdgeError(f"cannot read {path}: {error.strerror}. `make bench` writes it.") from None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EdgeError(f"{path} cannot be read as latencies ({error}); measure anew with `make bench`.") from None


def latencies_of(told: dict[str, Any]) -> Latencies:
    """Return a run from what JSON tells; raises ValueError, TypeError, KeyError or AttributeError for what is not one."""
    rest = {name: value for name, value in told.items() if name != "schema"}
    cases = [Case(**{**each, "warnings": [Notice(**one) for one in each["warnings"]]}) for each in told["cases"]]
    compared = [Compared(**{**each, "ratio": Ratio(**each["ratio"])}) for each in told["compared"]]
    null = None if told["null"] is None else Ratio(**told["null"])
    for case in cases:
        if case.state not in get_args(State):
            raise ValueError(f"a case is {case.state!r:.40}")
    return Latencies(**{**rest, "cases": cases, "compared": compared, "null": null})
