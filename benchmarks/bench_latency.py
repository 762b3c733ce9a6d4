# SPDX-License-Identifier: Apache-2.0
"""A model's artifacts on every target here, one case each, in pytest-benchmark's table, files and comparisons.

The model is EDGEFERRY_MODEL (default: the digits classifier), its artifacts stand below EDGEFERRY_BUILD. All cases are measured
in one run, in turns, before the first of them is told; what is told is replayed: each round lasts what a sample took, whether it
was taken here, in a browser or on a board. Rounds are calls, or turns of several where one is short.
"""

import os
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from edgeferry.benchmarks.latency.entries import Asked, Entry, entries_of
from edgeferry.benchmarks.latency.measure import Effort, keep, measure
from edgeferry.benchmarks.latency.records import Case, Latencies
from edgeferry.models.config.spec import read_spec
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.models.system.terminal import model_build, progress
from edgeferry.targets.target import choose

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZES: Final = ("artifact_sha256", "bytes", "compressed_bytes")
FACTS: Final = (*SIZES, "threads", "load_ms", "first_ms", "calls", "in_turns", "environment")


class Replay:
    """A clock that stands still until a sample is played, and then has gone on by it."""

    def __init__(self) -> None:
        """Start at zero."""
        self._now_s = 0.0
        self._left_ms: Iterator[float] = iter(())

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self._now_s

    def load(self, samples_ms: list[float]) -> None:
        """Take samples that are to be played next."""
        self._now_s, self._left_ms = 0.0, iter(samples_ms)

    def play(self) -> None:
        """Let a sample's time pass."""
        self._now_s += next(self._left_ms) / 1000


CLOCK: Final = Replay()


def _asked() -> Asked:
    spec = read_spec(Path(os.environ.get("EDGEFERRY_MODEL", ROOT / "models" / "digits.toml")))
    place = model_build(Path(os.environ.get("EDGEFERRY_BUILD", ROOT / "build")), spec.name)
    return Asked(place, (), choose(tuple(os.environ.get("EDGEFERRY_TARGETS", "").split()) or None))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a case of every artifact on every target that reads it."""
    if "entry" not in metafunc.fixturenames:
        return
    try:
        cases: list[Any] = [pytest.param(entry, id=entry.name.replace(" on ", "@")) for entry in entries_of(_asked())]
    except EdgeError as error:
        cases = [pytest.param(str(error), id="nothing")]
    metafunc.parametrize("entry", cases or [pytest.param("no target that was asked for reads any artifact.", id="nothing")])


@pytest.fixture(scope="module")
def measured(request: pytest.FixtureRequest) -> Latencies:
    """Return one run of all cases that were selected, kept as the command keeps it."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and "entry" in item.fixturenames]
    asked = _asked()
    with progress() as step:
        found = measure(asked, Effort(costs=True), step, [item.callspec.params["entry"] for item in items])  # type: ignore[misc]
    keep(found, asked.build)
    if found.interrupted:
        raise KeyboardInterrupt
    return found


@pytest.mark.benchmark(group="latency", timer=CLOCK)
def bench_latency(benchmark: Any, entry: Entry | str, request: pytest.FixtureRequest) -> None:
    """One artifact on one target."""
    if isinstance(entry, str):
        pytest.fail(entry, pytrace=False)
    measured: Latencies = request.getfixturevalue("measured")
    case = next(case for case in measured.cases if case.name == entry.name)
    if case.state == "not run":
        pytest.skip(case.reason)
    if case.state == "failed":
        pytest.fail(case.reason, pytrace=False)
    CLOCK.load(case.samples_ms)
    benchmark.group = f"{measured.model}: all artifacts, in one run"
    benchmark.extra_info.update({name: getattr(case, name) for name in FACTS} | _trust(case))
    # A profile of hundreds of operations stands in latency.json.
    benchmark.extra_info["costs"] = case.costs and asdict(replace(case.costs, operations=[]))
    benchmark.pedantic(CLOCK.play, rounds=len(case.samples_ms), iterations=1, warmup_rounds=0)


def _trust(case: Case) -> dict[str, Any]:
    return {"grade": case.grade, "warnings": [f"{one.what}: {one.advice}" for one in case.warnings]}
