# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import MULTILABEL
from edgeferry.models.diagnosis.label_count import label_count_hint
from edgeferry.models.preprocessing import Preprocessing

HOW = Preprocessing(2, 2, "gray", (0.0,), (1.0,))


def hint(labels: tuple[str, ...], outputs: tuple[str, ...]) -> str:
    """Return what is said of a model whose outputs have these labels and that reads them from its pixels."""
    common = [label for label in labels if label in outputs]
    shown = [common[number % len(common)] for number in range(40)]
    pixels = np.stack([np.full((2, 2, 1), outputs.index(label), np.uint8) for label in shown])
    spec = ModelSpec("pets", Path("pets.toml"), Path("pets.keras"), labels, HOW, Path("golden"))
    classes = np.array([labels.index(label) for label in shown])
    return label_count_hint(
        spec, lambda batch: np.eye(len(outputs))[batch[:, 0, 0, 0].astype(int)], len(outputs), pixels, classes
    )


@pytest.mark.parametrize(
    ("labels", "outputs", "said"),
    [
        (("cat", "dog", "fish"), ("background", "cat", "dog", "fish"), 'labels = ["background", "cat", ...]'),
        (("cat", "dog", "fish"), ("cat", "dog", "fish", "other"), "one more label after 'fish'"),
        (("cat", "dog", "fish"), ("cat", "cow", "dog", "fish"), "one more label before 'dog', as number 2,"),
        (("none", "cat", "dog", "fish"), ("cat", "dog", "fish"), "the label 'none' removed, number 1,"),
        (("cat", "dog", "none", "fish"), ("cat", "dog", "fish"), "the label 'none' removed, number 3,"),
    ],
)
def test_the_label_that_is_missing_or_too_many_is_named(labels: tuple[str, ...], outputs: tuple[str, ...], said: str) -> None:
    assert said in hint(labels, outputs)
    assert "it is right on 100.0% of 40 golden images." in hint(labels, outputs)


def test_nothing_is_said_where_more_labels_are_missing() -> None:
    assert hint(("cat", "dog"), ("cat", "dog", "cow", "fish")) == ""


def test_nothing_is_said_where_no_place_is_right() -> None:
    assert hint(("cat", "dog", "fish"), ("dog", "fish", "cat", "other")) == ""


@pytest.mark.parametrize(
    ("labels", "outputs", "said"),
    [
        (("cat", "dog"), ("any", "cat", "dog"), 'labels = ["background", "cat", ...]'),
        (("none", "cat", "dog"), ("cat", "dog"), "the label 'none' removed, number 1,"),
    ],
)
def test_of_several_labels_the_one_missing_or_too_many_is_named(
    labels: tuple[str, ...], outputs: tuple[str, ...], said: str
) -> None:
    rng = np.random.default_rng(1)
    held = rng.integers(0, 2, (40, 3)) * [label in labels for label in ("any", "cat", "dog")]
    there = {"any": rng.integers(0, 2, 40), "cat": held[:, 1], "dog": held[:, 2], "none": np.zeros(40, np.int64)}
    spec = ModelSpec("pets", Path("pets.toml"), Path("pets.keras"), labels, HOW, Path("golden"), output=MULTILABEL)
    pixels = np.arange(40, dtype=np.uint8)[:, None, None, None].repeat(4, axis=1).reshape(40, 2, 2, 1)
    scores = np.stack([there[name] for name in outputs], axis=1).astype(np.float32)
    truth = np.stack([there[name] for name in labels], axis=1)
    found = label_count_hint(spec, lambda batch: scores[batch[:, 0, 0, 0].astype(int)], len(outputs), pixels, truth)
    assert said in found
    assert "right on every label of 100.0% of 40 golden images." in found
