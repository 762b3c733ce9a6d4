# SPDX-License-Identifier: Apache-2.0
"""Finds the reading of a config under which its model is right on clearly more golden images, or none.

Every artifact agrees with a Keras model that was given wrong inputs, so no later check can see such a mistake.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import ONE_LABEL, Decision, groups_of, softmax
from edgeferry.models.diagnosis.evidence import (
    CERTAIN,
    LEADING,
    LEAST_IMAGES,
    LEAST_SHARE,
    Trial,
    clearly_better,
    far_above_chance,
    leads,
    mcnemar,
    trial_of,
)
from edgeferry.models.diagnosis.label_order import better_order
from edgeferry.models.diagnosis.pictures import Pictures, chosen_by_class, look_at
from edgeferry.models.diagnosis.readings import TURNS, Reading, alternatives, log_prior
from edgeferry.models.diagnosis.threshold import explained_by_threshold
from edgeferry.models.diagnosis.votes import outputs_of, votes_of
from edgeferry.models.golden.scores import batch_of
from edgeferry.models.images import ImageSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Readings are tried on so many images, fewer where they are large: what a laptop predicts some dozens of times in seconds.
MOST_IMAGES: Final = 200
LEAST_TRIED: Final = 64
MOST_PIXELS: Final = 5_000_000
# A reading that is right on this share fewer of every ninth image, and then of every third, or on as many fewer as are no
# accident, is not tried on the others.
SCREENED: Final = (9, 3)
HOPELESS: Final = 0.1
LEAST_BEHIND: Final = 3
# Range and order, then fit, then filter, then labels: more is not put right in one go.
ROUNDS: Final = 4

Predict = Callable[[Any], Any]


@dataclass(frozen=True)
class Labelled:
    """The golden images, the class of each, [count], and the probabilities the model gives them as the config stands.

    Of several labels the classes are 0 and 1 for each, [count, labels]. ``integers`` is true where the model takes whole numbers.
    """

    images: ImageSet
    classes: "NDArray[np.int64]"
    probabilities: "NDArray[np.float32]"
    integers: bool = False
    decision: Decision = ONE_LABEL


@dataclass(frozen=True)
class Diagnosis:
    """The reading that is better, the trial as the config stands and then, and how many readings were tried.

    ``is_certain`` is true where it is right on so many more images that no chance explains it (McNemar's exact test).
    """

    reading: Reading
    before: Trial
    after: Trial
    tried: int
    is_certain: bool


@dataclass(frozen=True)
class _Search:
    """The images readings are tried on, and every trial so far, each with the order of labels that fits it best."""

    predict: Predict
    logits: bool
    pictures: Pictures
    classes: "NDArray[np.int64]"
    labels: tuple[str, ...]
    integers: bool = False
    decision: Decision = ONE_LABEL
    scores: "dict[tuple[object, ...], NDArray[np.float32]]" = field(default_factory=dict)
    proposed: "dict[tuple[object, ...], tuple[int, ...] | None]" = field(default_factory=dict)
    tried: "set[tuple[object, ...]]" = field(default_factory=set)

    def probabilities(self, reading: Reading) -> "NDArray[np.float32]":
        key = (reading.how, reading.turn)
        self.tried.add(key)
        if key not in self.scores:
            self.scores[key] = predicted(self.predict, self.pictures.inputs(reading), logits=self.logits)
        return self.scores[key]

    def trial(self, reading: Reading) -> Trial:
        return trial_of(self.probabilities(reading), outputs_of(self.classes, reading.order), self.decision)

    def is_promising(self, reading: Reading, best: Reading) -> bool:
        """Say whether a reading is not clearly worse than another on a few images; most are, and need no more."""
        if (reading.how, reading.turn) in self.scores:
            return True
        self.tried.add((reading.how, reading.turn))
        return all(self._keeps_up(reading, best, step) for step in SCREENED)

    def _keeps_up(self, reading: Reading, best: Reading, step: int) -> bool:
        """Say whether a reading is not clearly worse than another, that is better than guessing, on every so many images."""
        classes = outputs_of(self.classes, best.order)[::step]
        known = trial_of(self.probabilities(best)[::step], classes, self.decision)
        if not far_above_chance(known):
            return True
        some = predicted(self.predict, self.pictures.inputs(reading)[::step], logits=self.logits)
        behind = int(known.right.sum()) - int(self.decision.right(some, classes).sum())
        return behind < max(LEAST_BEHIND, HOPELESS * len(classes))

    def with_orders(self, readings: Iterable[Reading]) -> list[Reading]:
        """Return the readings, each followed by itself with the order of labels its predictions speak for."""
        found: dict[Reading, None] = {}
        for reading in readings:
            key = (reading.how, reading.turn)
            if key not in self.proposed:
                votes = votes_of(self.probabilities(reading), self.classes, self.decision)
                self.proposed[key] = better_order(votes, self.labels)
            found |= dict.fromkeys([reading, replace(reading, order=None), replace(reading, order=self.proposed[key])])
        return list(found)


def diagnose(spec: ModelSpec, predict: Predict, golden: Labelled, *, logits: bool) -> Diagnosis | None:
    """Return the reading that is clearly better on the golden images and far above chance, or None.

    ``predict`` returns a model's outputs, [count, classes], for a batch of inputs.
    """
    decision = golden.decision
    before = trial_of(golden.probabilities, golden.classes, decision)
    # What the model gets right already cannot be put right.
    if (~before.right).sum() < max(LEAST_IMAGES, LEAST_SHARE * len(golden.classes)):
        return None
    start = Reading(spec.preprocessing)
    numbers = chosen_by_class(groups_of(golden.classes), _most_tried(spec))
    search = _Search(
        predict,
        logits,
        look_at(golden.images, numbers, spec.preprocessing),
        golden.classes[list(numbers)],
        spec.labels,
        golden.integers,
        decision,
    )
    search.scores[start.how, start.turn] = golden.probabilities[list(numbers)]
    best = _without_needless(search, _best(search, start), start)
    if best == start:
        return None
    probabilities, truth = _on_all(search, golden, best), outputs_of(golden.classes, best.order)
    after = trial_of(probabilities, truth, decision)
    certain, by_images = CERTAIN / len(search.tried), best.turn in TURNS
    # Mirrored images often do a little better by accident, and no key turns them: only many of them are evidence.
    named = clearly_better(after, before, certain, by_images=by_images) and far_above_chance(after)
    now, then = (golden.probabilities, golden.classes), (probabilities, truth)
    if not named or explained_by_threshold(now, then, decision):
        return None
    return Diagnosis(best, before, after, len(search.tried), mcnemar(after, before) < certain)


def _best(search: _Search, start: Reading) -> Reading:
    """Return where changing one part after another leads, each time the one that is best."""
    best = start
    for _ in range(ROUNDS):
        pictures = search.pictures
        shown = {"resized": pictures.resized, "reshaped": pictures.reshaped, "rotated": pictures.rotated}
        others = list(alternatives(best, **shown, integers=search.integers))
        pictures.prepare(others)
        others = [reading for reading in others if search.is_promising(reading, best)]
        trials = {reading: search.trial(reading) for reading in search.with_orders(others)}
        leading = _leading(trials, start)
        if leading == best or not leads(trials[leading], search.trial(best)):
            break
        best = leading
    return best


def _leading(trials: dict[Reading, Trial], start: Reading) -> Reading:
    """Return the best of some readings; one with other labels only where it leads those without."""

    def score(reading: Reading) -> float:
        return float(trials[reading].logs.sum()) + log_prior(reading, start)

    first, straight = max(trials, key=score), max((each for each in trials if each.order is None), key=score)
    return first if leads(trials[first], trials[straight]) else straight


def _without_needless(search: _Search, best: Reading, start: Reading) -> Reading:
    """Return a reading without the changes that it is no worse without, labels first: they explain most of any mistake."""
    trial = search.trial(best)
    for name in ("labels", "turn", "resize", "fit", "normalisation", "colour"):
        reverted = dict(best.reverts(start))[name]
        certain, by_images = (CERTAIN, True) if name == "turn" else (LEADING, False)
        if reverted != best and not clearly_better(trial, search.trial(reverted), certain, by_images=by_images):
            best = reverted
    return best


def _most_tried(spec: ModelSpec) -> int:
    how = spec.preprocessing
    return max(LEAST_TRIED, min(MOST_IMAGES, MOST_PIXELS // (how.height * how.width)))


def _on_all(search: _Search, golden: Labelled, reading: Reading) -> "NDArray[np.float32]":
    """Return the probabilities of all golden images under a reading, some at a time."""
    import numpy as np

    count, step = len(golden.classes), len(search.pictures.numbers)
    if count == step:
        return search.probabilities(reading)
    found = []
    for start in range(0, count, step):
        numbers = tuple(range(start, min(start + step, count)))
        some = replace(search.pictures, numbers=numbers, kept={})
        found.append(predicted(search.predict, some.inputs(reading), logits=search.logits))
    return np.concatenate(found)


def predicted(predict: Predict, inputs: "NDArray[np.float32]", *, logits: bool) -> "NDArray[np.float32]":
    """Return probabilities, where a wrong reading may make them NaN those of no class."""
    import numpy as np

    size = batch_of(inputs)
    batches = [np.asarray(predict(inputs[at : at + size]), np.float32) for at in range(0, len(inputs), size)]
    scores = np.concatenate(batches)
    return np.nan_to_num(softmax(scores) if logits else scores, nan=0.0)
