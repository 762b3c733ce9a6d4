# SPDX-License-Identifier: Apache-2.0
from pathlib import Path

import numpy as np
import pytest

from edgeferry.models.config.spec import ModelSpec
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
