# SPDX-License-Identifier: Apache-2.0
"""Many models on one card: what the last check of each found, and what changed since the report before it."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal

from edgeferry.benchmarks.latency.records import LATENCY, read_latencies
from edgeferry.benchmarks.parity.outcome import Outcome
from edgeferry.benchmarks.parity.rows import REPORT, Report, Row
from edgeferry.benchmarks.report.report import read_report
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest

# History: 1, the first. Its JSON Schema is scorecard.schema.json.
SCHEMA: Final = 1
ScoreState = Literal["worse", "gone", "better", "changed", "new", "same"]
# Regressions first.
STATES: Final[tuple[ScoreState, ...]] = ("worse", "gone", "changed", "better", "new", "same")
# What was measured, from best to worst.
RANKS: Final[Mapping[Outcome, int]] = {"passed": 0, "inconclusive": 1, "failed": 2}


@dataclass(frozen=True)
class Score:
    """What a check found of a format on a target; ``latency_ratio`` is that of `edgeferry bench` to its baseline, or None."""

    format: str
    target: str
    outcome: Outcome
    reason: str
    images: int | None
    agreement: float | None
    accuracy: float | None
    bytes: int | None
    latency_ratio: float | None
    artifact_sha256: str | None

    @property
    def place(self) -> tuple[str, str]:
        """Return format and target."""
        return self.format, self.target


@dataclass(frozen=True)
class ScoreChange:
    """A score, the one of the report before, None where there is none, and what that makes of it."""

    now: Score
    before: Score | None
    state: ScoreState


@dataclass(frozen=True)
class ModelCard:
    """A model: the date of its report and of the one before, None where this is the first, and its scores."""

    name: str
    created: str
    before: str | None
    scores: tuple[ScoreChange, ...]

    @property
    def state(self) -> ScoreState:
        """Return what most needs attention of what changed."""
        return min((each.state for each in self.scores), key=STATES.index, default="same")

    def counts(self) -> Counter[Outcome]:
        """Return how many results have each outcome."""
        return Counter(each.now.outcome for each in self.scores)


@dataclass(frozen=True)
class Scorecard:
    """Models, those first that became worse, then those that failed."""

    models: tuple[ModelCard, ...]

    def changes(self) -> Iterator[tuple[ModelCard, ScoreChange]]:
        """Yield every result with its model: regressions first, then what failed without having changed."""
        found = [(model, each) for model in self.models for each in model.scores]
        yield from sorted(found, key=lambda each: (STATES.index(each[1].state), -RANKS.get(each[1].now.outcome, -1)))

    @property
    def exit_status(self) -> int:
        """Return 1 where something failed or is worse than before, else 0 where something passed, else 2."""
        states = {each.state for _, each in self.changes()}
        outcomes = {each.now.outcome for _, each in self.changes()}
        return 1 if "worse" in states or "failed" in outcomes else 0 if "passed" in outcomes else 2

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON, by scorecard.schema.json."""
        models = [{**asdict(model), "state": model.state} for model in self.models]
        return {"schema": SCHEMA, "models": models}


@dataclass(frozen=True)
class ModelScores:
    """What a build folder's report holds for the card."""

    name: str
    created: str
    scores: tuple[Score, ...]

    @property
    def digest(self) -> str:
        """Return the digest of the scores: of two reports that found the same it is the same."""
        return digest([asdict(each) for each in self.scores])


def read_scores(place: Path) -> ModelScores:
    """Return the scores in a build folder's last report.

    Raises:
        EdgeError: there is none, or it cannot be read.
    """
    report = read_report(place / REPORT)
    ratios = dict(_latency_ratios(place, report))
    scores = sorted((_score(row, ratios.get((row.format, row.target))) for row in report.rows), key=lambda each: each.place)
    return ModelScores(report.model, report.created, tuple(scores))


def _latency_ratios(place: Path, report: Report) -> Iterator[tuple[tuple[str, str], float]]:
    """Yield the ratio to the baseline of each artifact that was timed with one thread, and not exported again since."""
    now = {row.format: row.artifact_sha256 for row in report.rows}
    with suppress(EdgeError):
        found = read_latencies(place / LATENCY)
        timed = {(case.format, case.target): case.artifact_sha256 for case in found.cases if case.threads == 1}
        for each in found.compared:
            if each.threads == 1 and timed.get((each.format, each.target)) == now.get(each.format):
                yield (each.format, each.target), each.ratio.ratio


def _score(row: Row, latency_ratio: float | None) -> Score:
    return Score(
        format=row.format,
        target=row.target,
        outcome="not checked" if row.outdated else row.outcome,
        reason=f"out of date: {row.outdated}" if row.outdated else row.reason,
        images=row.verdict.images,
        agreement=row.metric("top1_agreement"),
        accuracy=row.metric("accuracy"),
        bytes=row.bytes,
        latency_ratio=latency_ratio,
        artifact_sha256=row.artifact_sha256,
    )


def card_of(now: ModelScores, before: ModelScores | None) -> ModelCard:
    """Return a model's card: its scores, each next to the one of the report before."""
    known = {each.place: each for each in before.scores} if before else {}
    scores = [ScoreChange(each, known.get(each.place), state_of(each, known.get(each.place), before)) for each in now.scores]
    left = [each for place, each in known.items() if place not in {score.place for score in now.scores}]
    scores += [
        ScoreChange(_without(each), each, "gone" if each.outcome in RANKS else "same") for each in left if each.outcome in RANKS
    ]
    return ModelCard(now.name, now.created, before.created if before else None, tuple(scores))


def _without(before: Score) -> Score:
    reason = "it is no longer in the report"
    return Score(before.format, before.target, "not checked", reason, None, None, None, None, None, None)


def state_of(now: Score, before: Score | None, report: ModelScores | None) -> ScoreState:
    """Return what became of a result: 'gone' where it was measured before and is not any more."""
    was, is_now = (RANKS.get(each.outcome) if each else None for each in (before, now))
    if report is None or (was is None and is_now is None):
        return "same"
    if was is None:
        return "new"
    if is_now is None:
        return "gone"
    if was != is_now:
        return "worse" if is_now > was else "better"
    return "same" if before is not None and _measured(now) == _measured(before) else "changed"


def _measured(score: Score) -> tuple[object, ...]:
    return score.artifact_sha256, score.images, score.agreement, score.accuracy, score.bytes, score.latency_ratio


def scorecard(cards: Sequence[ModelCard]) -> Scorecard:
    """Return the card of several models, those first that need attention."""

    def order(model: ModelCard) -> tuple[int, int, str]:
        return STATES.index(model.state), -max((RANKS.get(each, -1) for each in model.counts()), default=-1), model.name

    return Scorecard(tuple(sorted(cards, key=order)))
