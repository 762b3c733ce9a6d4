# SPDX-License-Identifier: Apache-2.0
"""What an artifact did that was asked for minutes without a pause: what is kept of it, and said."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.latency.ratio import Clock, Ratio, Verdict
from edgeferry.benchmarks.report.words import milliseconds
from edgeferry.models.system.files import write_json

# History: 1, the first; 2, CPU time is null of what times itself.
SCHEMA: Final = 2
SUSTAINED: Final = "sustained.json"
VERDICTS: Final[dict[Verdict, str]] = {"slower": "slower", "faster": "faster", "cannot tell": "no change of 5 % can be told"}
WHY: Final = {
    "slower": "its CPU time does too, so the processor does less a second; look at heat, power limits and memory",
    "cannot tell": "its CPU time does not, so something else wants the processor; end it and measure again",
    "faster": "its CPU time does not, so something else wants the processor; end it and measure again",
    "not told": "look at heat and power limits of what it runs on, and at what else runs there",
}


@dataclass(frozen=True)
class Second:
    """What was asked within a second: how many answers, and the median of their wall and, where it is told, CPU milliseconds."""

    answers: int
    wall_ms: float
    cpu_ms: float | None


@dataclass(frozen=True)
class Minute:
    """A minute's median of wall and CPU milliseconds an answer, answers a second, and the machine's state at its end.

    Where a GPU of NVIDIA's computes, the temperature is its own.
    """

    wall_ms: float
    cpu_ms: float | None
    answers_per_s: float
    frequency_mhz: float | None
    temperature_c: float | None


@dataclass(frozen=True)
class Sustained:
    """One artifact on one target, asked without a pause; ``last_to_first`` are ratios of the last whole minute to the first."""

    format: str
    target: str
    threads: int
    artifact_sha256: str
    machine: dict[str, Any]
    environment: dict[str, Any]
    seconds: list[Second]
    minutes: list[Minute]
    last_to_first: dict[Clock, Ratio]
    verdicts: dict[Clock, Verdict]
    problem: str = ""
    interrupted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return what sustained.json holds."""
        return {"schema": SCHEMA, **asdict(self)}


def write_sustained(found: Sustained, build: Path) -> Path:
    """Write sustained.json into a model's build folder, whole or not at all, and return its path.

    Raises:
        EdgeError: the folder cannot be written.
    """
    write_json(build / SUSTAINED, found.as_json())
    return build / SUSTAINED


def lines_of(found: Sustained) -> Iterator[str]:
    """Yield what was measured as lines of text."""
    for number, minute in enumerate(found.minutes, 1):
        more = [f"{minute.answers_per_s:,.0f} answers/s"]
        more += [f"CPU {milliseconds(minute.cpu_ms)}"] if minute.cpu_ms is not None else []
        more += [f"{minute.frequency_mhz:.0f} MHz"] if minute.frequency_mhz else []
        more += [f"{minute.temperature_c:.0f} degrees"] if minute.temperature_c else []
        yield f"minute {number}: median {milliseconds(minute.wall_ms)}, {', '.join(more)}"
    for clock, ratio in found.last_to_first.items():
        interval = f"{ratio.ratio:.3f} [{ratio.low:.3f}, {ratio.high:.3f}]"
        yield f"{clock}, last minute to first: {interval}, {VERDICTS[found.verdicts[clock]]}"
    if "slower" in found.verdicts.values():
        yield f"it slows down: {WHY[found.verdicts.get('CPU time') or 'not told']}"
    if found.environment.get("kept"):
        yield "these are the times that the board kept of an equal job; EDGEFERRY_CORAL_REMEASURE=1 measures again"
    if found.problem:
        yield f"failed: {found.problem}"
