# SPDX-License-Identifier: Apache-2.0
"""The record of an artifact that ran for minutes without a pause, and the text about it."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.latency.ratio import LEAST_EFFECT, Clock, Ratio, SpeedVerdict, interval_text, speed_text
from edgeferry.benchmarks.report.words import milliseconds
from edgeferry.models.system.files import write_json

# History: 1, the first; 2, CPU time is null of targets that measure themselves; 3, answers are named
# inferences, and a verdict may be "inconclusive" instead of "cannot tell".
SCHEMA: Final = 3
SUSTAINED: Final = "sustained.json"
OTHER_PROCESSES: Final = "its CPU time did not increase, so other processes use the processor; end them and measure again"
# By the verdict on CPU time, None where the target reports none.
CAUSES: Final[dict[SpeedVerdict | None, str]] = {
    "slower": "its CPU time increased too, so the processor does less per second; check heat, power limits and memory",
    "inconclusive": OTHER_PROCESSES,
    "faster": OTHER_PROCESSES,
    None: "check heat, power limits and other processes on the device it runs on",
}


@dataclass(frozen=True)
class Second:
    """One second: how many inferences, and the median of their wall and, where it is reported, CPU milliseconds."""

    inferences: int
    wall_ms: float
    cpu_ms: float | None


@dataclass(frozen=True)
class Minute:
    """A minute's median wall and CPU milliseconds per inference, inferences per second, and the machine's state at its end.

    Where an NVIDIA GPU computes, the temperature is the GPU's.
    """

    wall_ms: float
    cpu_ms: float | None
    inferences_per_s: float
    frequency_mhz: float | None
    temperature_c: float | None


@dataclass(frozen=True)
class Sustained:
    """One artifact on one target, run without a pause; ``last_to_first`` are ratios of the last whole minute to the first."""

    format: str
    target: str
    threads: int
    artifact_sha256: str
    machine: dict[str, Any]
    environment: dict[str, Any]
    seconds: list[Second]
    minutes: list[Minute]
    last_to_first: dict[Clock, Ratio]
    verdicts: dict[Clock, SpeedVerdict]
    problem: str = ""
    interrupted: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the content of sustained.json."""
        return {"schema": SCHEMA, **asdict(self)}


def write_sustained(found: Sustained, build: Path) -> Path:
    """Write sustained.json into a model's build folder, whole or not at all, and return its path.

    Raises:
        EdgeError: the folder cannot be written.
    """
    write_json(build / SUSTAINED, found.as_json())
    return build / SUSTAINED


def lines_of(found: Sustained) -> Iterator[str]:
    """Yield the record as lines of text."""
    for number, minute in enumerate(found.minutes, 1):
        more = [f"{minute.inferences_per_s:,.0f} inferences/s"]
        more += [f"CPU {milliseconds(minute.cpu_ms)}"] if minute.cpu_ms is not None else []
        more += [f"{minute.frequency_mhz:.0f} MHz"] if minute.frequency_mhz else []
        more += [f"{minute.temperature_c:.0f} degrees"] if minute.temperature_c else []
        yield f"minute {number}: median {milliseconds(minute.wall_ms)}, {', '.join(more)}"
    for clock, ratio in found.last_to_first.items():
        verdict = found.verdicts[clock]
        result = f"no change of {100 * LEAST_EFFECT:g} % or more is shown" if verdict == "inconclusive" else verdict
        yield f"{clock}, last minute vs first: {speed_text(ratio)} {interval_text(ratio)}, {result}"
    if "slower" in found.verdicts.values():
        yield f"likely cause: {CAUSES[found.verdicts.get('CPU time')]}"
    if found.environment.get("kept"):
        yield "these are times that the board kept from an equal job; EDGEFERRY_CORAL_REMEASURE=1 measures again"
    if found.problem:
        yield f"failed: {found.problem}"
