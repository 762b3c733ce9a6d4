# SPDX-License-Identifier: Apache-2.0
"""A model's artifacts on every target here, one case each, in pytest-benchmark's table, files and comparisons.

The model is EDGEFERRY_MODEL, a TOML, .keras or .h5 file (default: the digits classifier); its artifacts are in EDGEFERRY_BUILD.
All cases are measured interleaved in one run before the first of them is reported; then each is replayed to pytest-benchmark: a
round lasts as long as a sample took, whether it was measured here, in a browser or on a board. Rounds are calls, or iterations of
several where one is short.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from edgeferry.benchmarks.latency.entries import BenchPlan, Entry, Selection, entries_of
from edgeferry.benchmarks.latency.measure import keep, measure
from edgeferry.benchmarks.latency.records import Latencies
from edgeferry.models.config.locate import find_config
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.models.system.terminal import model_build, progress
from edgeferry.targets.target import choose

if TYPE_CHECKING:
    from collections.abc import Iterator

# A profile of hundreds of operations is in latency.json only.
FIELDS: Final = (
    "artifact_sha256",
    "threads",
    "load_ms",
    "first_ms",
    "calls",
    "interleaved",
    "environment",
    "costs",
    "costs_problem",
)


class Replay:
    """A clock that stands still, and advances by one sample each time one is played."""

    def __init__(self) -> None:
        """Start at zero."""
        self._now_s = 0.0
        self._left_ms: Iterator[float] = iter(())

    def __call__(self) -> float:
        """Return the time in seconds."""
        return self._now_s

    def load(self, samples_ms: list[float]) -> None:
        """Set the samples to be played next."""
        self._now_s, self._left_ms = 0.0, iter(samples_ms)

    def play(self) -> None:
        """Advance by the next sample."""
        self._now_s += next(self._left_ms) / 1000


CLOCK: Final = Replay()


def _selection() -> Selection:
    model = os.environ.get("EDGEFERRY_MODEL", str(ROOT / "models" / "digits.toml"))
    spec = find_config(model, lambda note: print(f"edgeferry: {note}", file=sys.stderr))  # noqa: T201 - for whoever runs it
    place = model_build(Path(os.environ.get("EDGEFERRY_BUILD", ROOT / "build")), spec.name)
    return Selection(place, (), choose(tuple(os.environ.get("EDGEFERRY_TARGETS", "").split()) or None))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Make a case of every artifact on every target that reads it."""
    if "entry" not in metafunc.fixturenames:
        return
    try:
        cases: list[Any] = [pytest.param(entry, id=entry.name.replace(" on ", "@")) for entry in entries_of(_selection())]
    except EdgeError as error:
        cases = [pytest.param(f"{error} [{error.code}]", id="nothing")]
    metafunc.parametrize("entry", cases or [pytest.param("no selected target reads any artifact.", id="nothing")])


@pytest.fixture(scope="module")
def measured(request: pytest.FixtureRequest) -> Latencies:
    """Return one run of all selected cases, written as the command writes it."""
    items = [item for item in request.session.items if isinstance(item, pytest.Function) and "entry" in item.fixturenames]
    selection = _selection()
    with progress() as step:
        found = measure(selection, BenchPlan(costs=True), step, [item.callspec.params["entry"] for item in items])  # type: ignore[misc]
    keep(found, selection.build)
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
    benchmark.extra_info.update({name: getattr(case, name) for name in FIELDS})
    benchmark.extra_info.update(grade=case.grade, warnings=[warning.text for warning in case.warnings])
    benchmark.pedantic(CLOCK.play, rounds=len(case.samples_ms), iterations=1, warmup_rounds=0)
