# SPDX-License-Identifier: Apache-2.0
"""How images are prepared for a model, as its predictions for labelled photographs show it, before there is a config."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from edgeferry.models.config.spec import ModelSpec, normalisation_of_range
from edgeferry.models.decision import probabilities_of
from edgeferry.models.diagnosis.evidence import Trial, far_above_chance, leads, trial_of
from edgeferry.models.diagnosis.label_order import order_in_words
from edgeferry.models.diagnosis.pictures import chosen_by_class, look_at
from edgeferry.models.diagnosis.readings import CAFFE, IMAGENET, RANGES, Reading, input_lines, log_prior
from edgeferry.models.diagnosis.search import Labelled, Predict, diagnose, predicted
from edgeferry.models.golden.scores import keras_scores, output_kind
from edgeferry.models.images import ImageSet, read_pixels
from edgeferry.models.preprocessing import Preprocessing

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The value ranges are tried on so many photographs.
MOST_TRIED: Final = 100
GUESS: Final = "the range is a guess, which no check can find wrong: photographs in one folder per label would show the right one"


@dataclass(frozen=True)
class Proposal:
    """A config's preprocessing and labels, what was seen on the photographs, and on how many the model is right so."""

    spec: ModelSpec
    seen: tuple[str, ...] = ()
    accuracy: float | None = None


def proposed(
    spec: ModelSpec, predict: Predict, images: ImageSet, classes: "NDArray[np.int64] | None", *, is_known: bool
) -> Proposal:
    """Return the config under which a model is right on most photographs, starting from one that is assumed.

    ``is_known`` says whether the range of the assumed one is more than a guess. Without labels nothing can be seen.

    Raises:
        EdgeError: the model's outputs are no classifier's.
    """
    seen: list[str] = []
    if classes is None:
        output_kind(keras_scores(predict, read_pixels(images, spec.preprocessing), spec), spec)
        return Proposal(spec, () if is_known else (GUESS,))
    if not is_known:
        spec, words = _with_best_scaling(spec, predict, images, classes)
        seen.append(words)
    scores = keras_scores(predict, read_pixels(images, spec.preprocessing), spec)
    logits = output_kind(scores, spec) == "logits"
    probabilities = probabilities_of(scores, "logits" if logits else "probabilities")
    found = diagnose(spec, predict, Labelled(images, classes, probabilities), logits=logits)
    if found is None or (found.reading.how == spec.preprocessing and found.reading.order is None):
        return Proposal(spec, tuple(seen), float((probabilities.argmax(axis=1) == classes).mean()))
    reading = found.reading
    lines = input_lines(reading.how, spec.preprocessing)
    if reading.order is not None and found.is_certain:
        lines.append(order_in_words(reading.order, spec.labels))
        spec = replace(spec, labels=tuple(spec.labels[place] for place in reading.order))
    gain = f"{found.before.accuracy:.1%} of {len(classes)} photographs without, on {found.after.accuracy:.1%} with"
    seen.append(f"by the photographs, where the model is right on {gain}: {'; '.join(lines)}")
    return Proposal(replace(spec, preprocessing=reading.how), tuple(seen), found.after.accuracy)


def _with_best_scaling(
    spec: ModelSpec, predict: Predict, images: ImageSet, classes: "NDArray[np.int64]"
) -> tuple[ModelSpec, str]:
    """Return the config with the range, and channel order, that is best on some photographs, and how sure that is."""
    how = spec.preprocessing
    numbers = list(chosen_by_class(classes, MOST_TRIED))
    some, pictures = classes[numbers], look_at(images, numbers, how)
    start = Reading(how)
    scores = predict(pictures.inputs(start)[:32])
    logits = output_kind(scores, spec) == "logits"
    trials = {each: trial_of(predicted(predict, pictures.inputs(each), logits=logits), some) for each in _scalings(how)}
    ranked = sorted(trials, key=lambda each: float(trials[each].logs.sum()) + log_prior(each, start), reverse=True)
    best, second = ranked[0], ranked[1]
    return replace(spec, preprocessing=best.how), _sureness(trials[best], trials[second], best.how, second.how, some)


def _scalings(how: Preprocessing) -> Iterator[Reading]:
    for low, high in RANGES:
        mean, std = normalisation_of_range(low, high, how.channels)
        yield Reading(replace(how, mean=mean, std=std))
    if how.channels == 3:
        yield Reading(replace(how, mean=IMAGENET[0], std=IMAGENET[1]))
        yield Reading(replace(how, colour="bgr", mean=CAFFE[0], std=CAFFE[1]))


def _sureness(best: Trial, second: Trial, how: Preprocessing, other: Preprocessing, classes: "NDArray[np.int64]") -> str:
    """Return in words how well the best of the ranges is known."""
    blank = replace(how, mean=(), std=())
    words = "; ".join(input_lines(how, blank))
    rates = f"right on {best.accuracy:.1%} of {len(classes)} photographs with it"
    if not far_above_chance(best):
        return f"{words} is the best of the usual ranges, but the model is {rates}: check it, and the labels"
    if leads(best, second):
        return f"{words} by the photographs: the model is {rates}, on {second.accuracy:.1%} with the next best"
    return f"{words} is a guess: the model is {rates}, and nearly as often with {'; '.join(input_lines(other, blank))}"
