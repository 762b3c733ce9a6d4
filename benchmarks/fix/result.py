# SPDX-License-Identifier: Apache-2.0
"""What a search for a repair tried: every candidate, measured, and the one that is proven."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.parity.outcome import Outcome
from edgeferry.models.system.files import write_json

# History: 1, the first. Its JSON Schema is fix.schema.json.
SCHEMA: Final = 1
# The folder below build/<model>/, with a file for each format.
FIX: Final = "fix"


@dataclass(frozen=True)
class Candidate:
    """Options of a format; ``dense`` is how Dense weights are held, ``keep_float`` the Keras layers that stay in float."""

    dense: str
    keep_float: tuple[str, ...] = ()


@dataclass(frozen=True)
class Half:
    """The verdict on one half of the golden images: the agreement, what it shows at least, and the mean difference."""

    outcome: Outcome
    reason: str
    images: int
    agreement: float | None
    at_least: float | None
    mean_difference: float | None


@dataclass(frozen=True)
class Trial:
    """A candidate that was exported and run: its size, the median of a few latencies, and the verdict that it is chosen by.

    ``proof`` is the verdict on the other half, None where it was not asked. ``problem`` says why it could not be exported or run.
    """

    candidate: Candidate
    key: str
    bytes: int = 0
    latency_ms: float | None = None
    chosen: Half | None = None
    proof: Half | None = None
    problem: str = ""

    @property
    def passes(self) -> bool:
        """Return whether it passed on the half that candidates are chosen by."""
        return self.chosen is not None and self.chosen.outcome == "passed"


@dataclass(frozen=True)
class Fixed:
    """A search: the first trial is the format as it was exported, ``best`` the number of the proven one, None without one.

    ``float_bytes`` is the size of the format with every layer in float; ``proofs`` is how many trials were held against the
    other half.
    """

    model: str
    format: str
    target: str
    created: str
    seconds: float
    trials: tuple[Trial, ...]
    best: int | None
    float_bytes: int | None
    proofs: int
    is_finished: bool

    @property
    def change(self) -> dict[str, Any]:
        """Return the options that the proven trial has and the format as it was exported has not, by key."""
        if self.best is None:
            return {}
        was, now = (asdict(self.trials[at].candidate) for at in (0, self.best))
        return {key: list(value) if isinstance(value, tuple) else value for key, value in now.items() if value != was[key]}

    @property
    def lines(self) -> tuple[str, ...]:
        """Return the lines of the config that make the change, below the format's table."""
        return tuple(f"{key} = {json.dumps(value)}" for key, value in self.change.items())

    def as_json(self) -> dict[str, Any]:
        """Return what ``edgeferry fix --json`` prints."""
        return {"schema": SCHEMA, **asdict(self), "frontier": frontier(self.trials), "change": self.change}


def frontier(trials: Sequence[Trial]) -> list[int]:
    """Return the numbers of the trials that no other beats in size and mean difference at once, the smallest first."""
    sized = [(trial.bytes, _difference(trial), at) for at, trial in enumerate(trials) if trial.chosen is not None]
    best, found = float("inf"), []
    for _, difference, at in sorted(sized):
        if difference < best:
            best = difference
            found.append(at)
    return found


def _difference(trial: Trial) -> float:
    value = trial.chosen.mean_difference if trial.chosen else None
    return float("inf") if value is None else value


def write_fixed(found: Fixed, folder: Path) -> Path:
    """Write what was found into a model's build folder; return the file."""
    file = folder / FIX / f"{found.format}.json"
    write_json(file, found.as_json())
    return file
