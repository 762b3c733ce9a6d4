# SPDX-License-Identifier: Apache-2.0
"""The result of a self-test, ``build/<model>/selftest.json``, and what it adds up to for each format."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, get_args

from edgeferry.benchmarks.parity.outcome import OUTCOMES
from edgeferry.benchmarks.selftest.trial import Harm, Trial
from edgeferry.models.system.files import read_record, write_json

# History: 1, the first. Its schema: selftest.schema.json.
SCHEMA: Final = 1
SELFTEST: Final = "selftest.json"
WRITER: Final = "edgeferry selftest"


@dataclass(frozen=True)
class SelfTest:
    """What was planted in a model's artifacts, and what the check made of it.

    ``artifacts`` holds the digest of every artifact that faults were planted in, ``images`` how many images the harm of a fault
    was measured on, ``golden`` how many golden images there are. ``untried`` counts, by format, the faults that there was no
    time for; ``impossible`` those that the model or the file has no place for.
    """

    model: str
    source_sha256: str
    created: str
    seconds: float
    golden: int
    images: int
    artifacts: Mapping[str, str]
    trials: tuple[Trial, ...]
    untried: Mapping[str, int] = field(default_factory=dict)
    impossible: Mapping[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return what selftest.json holds."""
        return {"schema": SCHEMA, **asdict(self)}


@dataclass(frozen=True)
class Count:
    """How many of how many."""

    caught: int
    planted: int

    def __str__(self) -> str:
        return f"{self.caught} of {self.planted}" if self.planted else "-"


@dataclass(frozen=True)
class Tally:
    """One format's trials, counted.

    ``elsewhere`` counts faults that predictions for single images cannot show; ``no_effect`` is how many faults are too small to
    matter on this model, ``failed_honest`` how many honest artifacts failed.
    """

    format: str
    target: str
    harmful: Count
    subtle: Count
    elsewhere: Count
    no_effect: Count
    failed_honest: Count


def tallies(trials: Sequence[Trial]) -> list[Tally]:
    """Return the counts of every format, in the order of their names."""
    by_format = {(each.format, each.target): "" for each in sorted(trials, key=lambda each: each.format)}
    return [tally(form, target, [each for each in trials if each.format == form]) for form, target in by_format]


def tally(form: str, target: str, trials: Sequence[Trial]) -> Tally:
    """Return the counts of trials under a format's name."""
    counts = {harm: _count([each for each in trials if each.harm == harm]) for harm in get_args(Harm)}
    return Tally(form, target, counts["harmful"], counts["subtle"], counts["elsewhere"], counts["none"], counts["honest"])


def _count(trials: Sequence[Trial]) -> Count:
    return Count(sum(each.is_caught for each in trials), len(trials))


def missed(trials: Sequence[Trial]) -> list[Trial]:
    """Return the faults that matter and were not caught: the harmful, then those elsewhere, then the subtle."""
    order = ("harmful", "elsewhere", "subtle")
    found = [each for each in trials if each.harm in order and not each.is_caught]
    return sorted(found, key=lambda each: (order.index(each.harm), each.format, -(each.changed or 0)))


def false_alarms(trials: Sequence[Trial]) -> list[Trial]:
    """Return the honest artifacts that failed."""
    return [each for each in trials if each.harm == "honest" and each.is_caught]


def holds(found: SelfTest) -> bool:
    """Return whether every fault that matters was caught, and every honest artifact passed.

    A subtle fault that is missed changes a few answers at most, and does not count.
    """
    return not any(each.harm != "subtle" for each in missed(found.trials)) and not false_alarms(found.trials)


def write_selftest(found: SelfTest, folder: Path) -> Path:
    """Write selftest.json into a model's build folder; return its path."""
    write_json(folder / SELFTEST, found.as_json())
    return folder / SELFTEST


def read_selftest(folder: Path) -> SelfTest:
    """Return the self-test that a build folder holds.

    Raises:
        EdgeError: there is none, it is damaged, or of another schema.
    """
    return read_record(folder / SELFTEST, SCHEMA, _selftest_of, "a self-test", WRITER)


def _selftest_of(data: dict[str, Any]) -> SelfTest:
    trials = tuple(Trial(**each) for each in data["trials"])
    for each in trials:
        if each.harm not in get_args(Harm) or each.outcome not in OUTCOMES:
            raise ValueError(f"a trial is {each.harm!r:.40}, {each.outcome!r:.40}")
    return SelfTest(**{**data, "trials": trials})
