# SPDX-License-Identifier: Apache-2.0
"""Wrong configs on 100 golden images: how many are caught, how often the right cure is named, how often a right one is refused.

Labels, value range, channel order, mean and deviation, filter and fit are planted wrong in the configs of five classifiers, one
with a threshold and one with several labels per image. A fault counts where it costs more than 3 points on all golden images;
a cure is right where it names the keys that are wrong, no others, and is within a point of what the right config reaches.
"""

import os
import sys
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.benchmarks.own import classifiers
from edgeferry.models.config.spec import FITS, RESIZES, ModelSpec, normalisation_of_range
from edgeferry.models.decision import MULTILABEL, Decision, decision_of
from edgeferry.models.diagnosis.readings import IMAGENET, OTHER_ORDER, RANGES, Reading
from edgeferry.models.diagnosis.search import Diagnosis, Labelled, diagnose
from edgeferry.models.diagnosis.votes import outputs_of
from edgeferry.models.image_labels import read_label_sets_if_any, read_labels
from edgeferry.models.images import ImageSet, find_images, read_pixels
from edgeferry.models.keras_loader import load_model
from edgeferry.models.preprocessing import Preprocessing, normalise

IMAGES: Final = 100
# Each fault is planted in so many samples of the golden images, and a right config is diagnosed on so many.
SAMPLES: Final = int(os.environ.get("EDGEFERRY_SAMPLES", "8"))
RIGHT_SAMPLES: Final = int(os.environ.get("EDGEFERRY_RIGHT_SAMPLES", "100"))
LEAST_COST: Final = 0.03
NEAR: Final = 0.01
LEAST_CAUGHT: Final = 0.95
LEAST_CURED: Final = 0.90
CLASSIFIERS: Final = ("digits", "tinted", "shapes", "striped", "marks")


@dataclass
class Bench:
    """A trained classifier, its golden images, and what it predicts, each input once."""

    spec: ModelSpec
    images: ImageSet
    classes: Any
    model: Any
    scores: dict[int, Any] = field(default_factory=dict)
    whole: dict[Preprocessing, Any] = field(default_factory=dict)

    def predict(self, batch: Any) -> Any:
        """Return the model's outputs, computed where they are not known."""
        keys = [zlib.adler32(row.tobytes()) << 32 | zlib.crc32(row.tobytes()) for row in batch]
        missing = [at for at, key in enumerate(keys) if key not in self.scores]
        if missing:
            found = self.model.predict_on_batch(np.ascontiguousarray(batch[missing]))
            self.scores.update(zip((keys[at] for at in missing), found, strict=True))
        return np.stack([self.scores[key] for key in keys])

    def probabilities(self, how: Preprocessing) -> Any:
        """Return the probabilities of all golden images under a preprocessing."""
        if how not in self.whole:
            inputs = normalise(read_pixels(self.images, how), how)
            self.whole[how] = np.concatenate([self.predict(inputs[at : at + 64]) for at in range(0, len(inputs), 64)])
        return self.whole[how]

    def accuracy(self, how: Preprocessing, order: tuple[int, ...]) -> float:
        """Return how often it is right on all golden images where its outputs have the labels of an order."""
        return float(self.decision.right(self.probabilities(how), outputs_of(self.classes, order)).mean())

    @property
    def decision(self) -> Decision:
        """Return how its probabilities become an answer."""
        return decision_of(self.spec.output, self.spec.threshold)


@dataclass(frozen=True)
class Fault:
    """A wrong config: its preprocessing, its labels as places in the right list, and the names of what is wrong."""

    name: str
    how: Preprocessing
    order: tuple[int, ...]
    keys: frozenset[str]


@pytest.fixture(scope="module")
def benches(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Bench]:
    """Return the classifiers, trained."""
    made = {}
    for name in CLASSIFIERS:
        spec: ModelSpec = getattr(classifiers, name)(tmp_path_factory.mktemp(name))
        images = find_images(spec.golden)
        read = read_label_sets_if_any if spec.output == MULTILABEL else read_labels
        made[name] = Bench(spec, images, read(images, spec.labels), load_model(spec.model))
    return made


@pytest.mark.parametrize("name", CLASSIFIERS)
def bench_faults_are_caught(benchmark: Any, benches: dict[str, Bench], name: str) -> None:
    """Every fault that matters, on some samples of 100 golden images."""
    bench = benches[name]
    table = benchmark.pedantic(lambda: list(_planted(bench)), rounds=1, iterations=1)
    caught, cured = (sum(row[at] for row in table) / sum(row[2] for row in table) for at in (3, 4))
    lines = [f"{fault:28} costs {cost:5.1%}: caught {c} of {n}, right cure {r} ({said})" for fault, cost, n, c, r, said in table]
    sys.stderr.write(f"\n{name}:\n" + "\n".join(lines) + f"\n{name}: caught {caught:.1%}, right cure {cured:.1%}\n")
    benchmark.extra_info.update(caught=caught, cured=cured)
    assert caught >= LEAST_CAUGHT
    assert cured >= LEAST_CURED


@pytest.mark.parametrize("name", CLASSIFIERS)
def bench_right_configs_are_accepted(benchmark: Any, benches: dict[str, Bench], name: str) -> None:
    """The right config on many samples of 100 golden images."""
    bench, draw = benches[name], np.random.default_rng(3)
    samples = [_sample(bench, draw) for _ in range(RIGHT_SAMPLES)]
    straight = tuple(range(len(bench.spec.labels)))
    fault = Fault("none", bench.spec.preprocessing, straight, frozenset())
    found = benchmark.pedantic(lambda: [_diagnosed(bench, fault, numbers) for numbers in samples], rounds=1, iterations=1)
    refused = [_named(each, fault) for each in found if each is not None and each.is_certain]
    warned = sum(each is not None for each in found) - len(refused)
    accuracy = bench.accuracy(bench.spec.preprocessing, straight)
    said = f"{len(refused)} of {len(found)} right configs refused {refused}, {warned} warned"
    sys.stderr.write(f"\n{name}, right on {accuracy:.1%}: {said}\n")
    benchmark.extra_info.update(refused=len(refused), warned=warned, samples=len(found))
    assert not refused


def _planted(bench: Bench) -> Iterator[tuple[str, float, int, int, int, str]]:
    """Yield for each fault that matters its name, cost, samples, how often it was caught and cured, and what was named else."""
    straight = tuple(range(len(bench.spec.labels)))
    right = bench.accuracy(bench.spec.preprocessing, straight)
    for at, fault in enumerate(_faults(bench.spec)):
        cost = right - bench.accuracy(fault.how, fault.order)
        if cost <= LEAST_COST:
            continue
        draw = np.random.default_rng(at)
        found = [_diagnosed(bench, fault, _sample(bench, draw)) for _ in range(SAMPLES)]
        cured = [each is not None and _is_cure(bench, fault, each.reading, right) for each in found]
        others = {_named(each, fault) for each, good in zip(found, cured, strict=True) if each is not None and not good}
        yield fault.name, cost, SAMPLES, sum(each is not None for each in found), sum(cured), "; ".join(sorted(others))


def _faults(spec: ModelSpec) -> Iterator[Fault]:
    how, count = spec.preprocessing, len(spec.labels)
    straight, draw = tuple(range(count)), np.random.default_rng(11)
    orders: dict[str, tuple[int, ...]] = {
        "labels shifted": (*straight[1:], 0),
        "labels shifted back": (count - 1, *straight[:-1]),
        "labels reversed": straight[::-1],
        "labels not sorted": tuple(draw.permutation(count).tolist()),
    }
    for _ in range(4):
        one, other = sorted(draw.choice(count, 2, replace=False).tolist())
        orders[f"labels {one} and {other} exchanged"] = _exchanged(straight, one, other)
    # Of two labels most of these are the same exchange.
    for order, name in {order: name for name, order in orders.items() if order != straight}.items():
        yield Fault(name, how, order, frozenset({"labels"}))
    readings = list(_wrong(how))
    yield from (Fault(name, wrong, straight, keys) for name, wrong, keys in readings)
    swapped = _exchanged(straight, 0, count - 1)
    for name, wrong, keys in readings:
        if name.startswith(("range", "order")):
            yield Fault(f"{name}, labels exchanged", wrong, swapped, keys | {"labels"})


def _wrong(how: Preprocessing) -> Iterator[tuple[str, Preprocessing, frozenset[str]]]:
    """Yield every wrong preprocessing with its name and its keys."""
    ranges = {f"range [{low:g}, {high:g}]": normalisation_of_range(low, high, how.channels) for low, high in RANGES}
    others: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = ranges if _known(how) else {}
    if how.channels == 3 and _known(how):
        others["mean of ImageNet"] = IMAGENET
    for name, (mean, std) in others.items():
        if (mean, std) != (how.mean, how.std):
            yield name, replace(how, mean=mean, std=std), frozenset({"normalisation"})
            if how.channels == 3:
                both = replace(how, mean=mean, std=std, colour=OTHER_ORDER[how.colour])
                yield f"order and {name}", both, frozenset({"normalisation", "colour"})
    if how.channels == 3:
        yield "order", replace(how, colour=OTHER_ORDER[how.colour]), frozenset({"colour"})
        yield "mean reversed", replace(how, mean=how.mean[::-1], std=how.std[::-1]), frozenset({"normalisation"})
    yield from ((f"resize {name}", replace(how, resize=name), frozenset({"resize"})) for name in RESIZES if name != how.resize)
    yield from ((f"fit {name}", replace(how, fit=name), frozenset({"fit"})) for name in FITS if name != how.fit)


def _known(how: Preprocessing) -> bool:
    """Say whether a normalisation is among those tried: means and deviations of a model's own cannot be found."""
    return (how.mean, how.std) in [normalisation_of_range(low, high, how.channels) for low, high in RANGES]


def _exchanged(order: tuple[int, ...], one: int, other: int) -> tuple[int, ...]:
    places = {one: other, other: one}
    return tuple(places.get(each, each) for each in order)


def _sample(bench: Bench, draw: np.random.Generator) -> list[int]:
    return sorted(draw.choice(len(bench.classes), IMAGES, replace=False).tolist())


def _diagnosed(bench: Bench, fault: Fault, numbers: list[int]) -> Diagnosis | None:
    """Return the diagnosis of a fault on some of the golden images."""
    spec = replace(bench.spec, preprocessing=fault.how, labels=tuple(bench.spec.labels[place] for place in fault.order))
    images = replace(bench.images, files=tuple(bench.images.files[number] for number in numbers))
    classes = outputs_of(bench.classes[numbers], fault.order)
    golden = Labelled(images, classes, bench.probabilities(fault.how)[numbers], decision=bench.decision)
    return diagnose(spec, bench.predict, golden, logits=False)


def _keys(reading: Reading, fault: Fault) -> frozenset[str]:
    return frozenset(name for name, reverted in reading.reverts(Reading(fault.how)) if reverted != reading)


def _is_cure(bench: Bench, fault: Fault, reading: Reading, right: float) -> bool:
    order = tuple(fault.order[place] for place in reading.order or range(len(fault.order)))
    return _keys(reading, fault) == fault.keys and bench.accuracy(reading.how, order) >= right - NEAR


def _named(found: Diagnosis, fault: Fault) -> str:
    how = found.reading.how
    shown = {"normalisation": f"mean {how.mean[0]:.4g}", "colour": how.colour, "resize": how.resize, "fit": how.fit}
    return " and ".join(sorted(shown.get(key, key) for key in _keys(found.reading, fault)))
