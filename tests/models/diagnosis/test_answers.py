# SPDX-License-Identifier: Apache-2.0
"""Networks of one layer, trained on pictures, whose answer is not the most probable label: several labels, or a threshold."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pytest
from PIL import Image

from edgeferry.models.config.spec import ModelSpec, normalisation_of_range
from edgeferry.models.decision import MULTILABEL, Decision, decision_of
from edgeferry.models.diagnosis.check import check_config
from edgeferry.models.diagnosis.search import Labelled
from edgeferry.models.diagnosis.threshold import explained_by_threshold
from edgeferry.models.diagnosis.votes import outputs_of
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.preprocessing import Preprocessing, normalise
from edgeferry.models.system.errors import EdgeError

MARKS: Final = ("bar", "disc", "pole", "spot", "warm")
OFTEN: Final = (0.4, 0.5, 0.25, 0.15, 0.4)
HOW: Final = Preprocessing(12, 12, "bgr", *normalisation_of_range(-1, 1, 3), "bilinear", "stretch")
IMAGES: Final = 150


@dataclass(frozen=True)
class Network:
    """A trained network with its config, and the true labels of the golden images, 0 and 1, [count, labels]."""

    spec: ModelSpec
    held: np.ndarray
    predict: Callable[[Any], np.ndarray]

    def probabilities(self, how: Preprocessing) -> np.ndarray:
        return self.predict(normalise(read_pixels(find_images(self.spec.golden), how), how))


@pytest.fixture(scope="module")
def marks(tmp_path_factory: pytest.TempPathFactory) -> Network:
    """Return a network of one sigmoid for each of five marks, of which a picture has any number."""
    folder, rng = tmp_path_factory.mktemp("marks"), np.random.default_rng(4)
    patterns = rng.normal(0, 22, (len(MARKS), 12, 12, 3))
    held = (rng.random((6 * IMAGES, len(MARKS))) < OFTEN).astype(np.int64)
    pixels = 110 + np.einsum("nm,mhwc->nhwc", held, patterns) + rng.normal(0, 75, (len(held), 12, 12, 3))
    pixels = pixels.clip(0, 255).astype(np.uint8)
    for number in range(IMAGES):
        Image.fromarray(pixels[number]).save(folder / f"{number:03}.png")
    spec = ModelSpec("marks", folder / "marks.toml", folder / "marks.keras", MARKS, HOW, folder, output=MULTILABEL)
    inputs = normalise(pixels[IMAGES:, ..., ::-1], HOW)
    return Network(spec, held[:IMAGES], _trained(inputs, held[IMAGES:]))


def _trained(inputs: np.ndarray, held: np.ndarray) -> Callable[[Any], np.ndarray]:
    """Return a layer of sigmoids, trained by gradient descent with weight decay."""
    flat = np.c_[inputs.reshape(len(inputs), -1), np.ones(len(inputs))]
    weights = np.zeros((flat.shape[1], held.shape[1]))
    for _ in range(300):
        weights -= 0.02 * (flat.T @ (_sigmoid(flat @ weights) - held) / len(flat) + 0.02 * weights)
    return lambda batch: _sigmoid(np.c_[batch.reshape(len(batch), -1), np.ones(len(batch))] @ weights).astype(np.float32)


def _sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


def of_two(marks: Network, threshold: float, label: int = 1) -> Network:
    """Return one of the sigmoids as a classifier of two labels."""

    def predict(batch: Any) -> np.ndarray:
        one = marks.predict(batch)[:, label]
        return np.stack([1 - one, one], axis=1)

    spec = replace(marks.spec, labels=("no", MARKS[label]), output="probabilities", threshold=threshold)
    return Network(spec, marks.held[:, label], predict)


def checked(network: Network, how: Preprocessing = HOW, order: tuple[int, ...] | None = None) -> Any:
    """Diagnose a network's config with this preprocessing, its labels in this order."""
    spec = replace(network.spec, preprocessing=how)
    if order is not None:
        spec = replace(spec, labels=tuple(spec.labels[place] for place in order))
    decision = decision_of(spec.output, spec.threshold)
    truth = outputs_of(network.held, order)
    golden = Labelled(find_images(spec.golden), truth, network.probabilities(how), decision=decision)
    return check_config(spec, network.predict, golden, logits=False)


def refused(line: str) -> Any:
    return pytest.raises(EdgeError, check=lambda error: error.code == "EF-config-mismatch" and line in str(error))


WRONG: Final = {
    "order": ({"colour": "rgb"}, 'Write in [input]: colour = "bgr".'),
    "range": (dict(zip(("mean", "std"), normalisation_of_range(0, 1, 3), strict=True)), "Write in [input]: range = [-1, 1]"),
    "pixels": (dict(zip(("mean", "std"), normalisation_of_range(0, 255, 3), strict=True)), "Write in [input]: range = [-1, 1]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_input_of_several_labels_is_named(marks: Network, name: str) -> None:
    how, line = WRONG[name]
    with refused(line):
        checked(marks, replace(HOW, **how))


@pytest.mark.parametrize("order", [(0, 1, 4, 3, 2), (1, 0, 2, 3, 4), (4, 3, 2, 1, 0), (1, 2, 3, 4, 0)])
def test_labels_of_several_in_another_order_are_named(marks: Network, order: tuple[int, ...]) -> None:
    with refused('Write in [model]: labels = ["bar", "disc", "pole", "spot", "warm"].'):
        checked(marks, order=order)


def test_channels_and_labels_of_several_are_put_right_together(marks: Network) -> None:
    line = 'colour = "bgr". Write in [model]: labels = ["bar", "disc", "pole", "spot", "warm"].'
    with refused(line):
        checked(marks, replace(HOW, colour="rgb"), (4, 1, 2, 3, 0))


def test_what_is_said_of_several_labels_counts_images_with_every_label_right(marks: Network) -> None:
    right = Decision(is_multilabel=True).right(marks.probabilities(HOW), marks.held)
    wrong = Decision(is_multilabel=True).right(marks.probabilities(HOW), marks.held[:, [1, 0, 2, 3, 4]])
    line = f"the model is right on every label of {wrong.mean():.1%} of 150 golden images, and on {right.mean():.1%} with"
    with refused(line):
        checked(marks, order=(1, 0, 2, 3, 4))


def test_a_right_config_of_several_labels_is_not_doubted(marks: Network) -> None:
    assert checked(marks) is None


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.9])
def test_two_labels_with_a_threshold_exchanged_are_named(marks: Network, threshold: float) -> None:
    with refused('Write in [model]: labels = ["no", "disc"].'):
        checked(of_two(marks, threshold), order=(1, 0))


@pytest.mark.parametrize("threshold", [0.5, 0.9])
def test_a_wrong_order_of_channels_is_named_whatever_the_threshold(marks: Network, threshold: float) -> None:
    with refused('Write in [input]: colour = "bgr".'):
        checked(of_two(marks, threshold), replace(HOW, colour="rgb"))


@pytest.mark.parametrize("threshold", [0.02, 0.1, 0.8, 0.98])
def test_a_threshold_that_is_not_right_most_often_is_no_wrong_config(marks: Network, threshold: float) -> None:
    # Inputs of twice the contrast make the network more certain, so that more images reach 0.98.
    assert checked(of_two(marks, threshold)) is None


def test_more_certain_outputs_are_explained_by_the_threshold() -> None:
    rng, truth = np.random.default_rng(8), np.arange(200) % 2
    logits = rng.normal(0, 1, 200) + 3 * truth - 1.5
    now, then = (np.stack([1 - p, p], axis=1) for p in (_sigmoid(logits), _sigmoid(4 * logits)))
    decision = Decision(threshold=0.95)
    assert decision.right(then, truth).sum() > decision.right(now, truth).sum() + 20
    assert explained_by_threshold((now, truth), (then, truth), decision)
    assert not explained_by_threshold((now[:, ::-1], truth), (then, truth), decision)
    assert not explained_by_threshold((now, truth), (then, truth), Decision())
