# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeferry.models.golden.order import LEAST_MARGIN, ORDER, order_of, read_order

if TYPE_CHECKING:
    from numpy.typing import NDArray


@pytest.fixture
def scores() -> "NDArray[np.float32]":
    """Return probabilities of 12 classes for 240 images, most of them sure, some not."""
    rng = np.random.default_rng(5)
    logits = rng.normal(0, 1, (240, 12))
    logits[np.arange(240), np.arange(240) % 12] += rng.uniform(0, 8, 240)
    powers = np.exp(logits)
    return (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)


def _margins(scores: "NDArray[np.float32]") -> "NDArray[np.float32]":
    highest = np.sort(scores, axis=1)
    return highest[:, -1] - highest[:, -2]


def test_every_class_is_among_the_first_images(scores: "NDArray[np.float32]") -> None:
    order = order_of(scores, np.arange(240) % 12)
    assert set(scores[order[:12]].argmax(axis=1)) == set(range(12))


@pytest.mark.parametrize("swapped", [(0, 11), (3, 4), (5, 9)])
def test_two_classes_swapped_are_caught_by_the_first_images(swapped: tuple[int, int], scores: "NDArray[np.float32]") -> None:
    one, other = swapped
    spoiled = scores.copy()
    spoiled[:, [one, other]] = scores[:, [other, one]]
    first = order_of(scores, np.arange(240) % 12)[:12]
    assert (spoiled[first].argmax(axis=1) != scores[first].argmax(axis=1)).sum() == 2


def test_a_stride_through_the_images_would_miss_them(scores: "NDArray[np.float32]") -> None:
    stride = [at * 240 // 8 for at in range(8)]
    assert len(set(scores[stride].argmax(axis=1))) < 5


def test_every_image_comes_once(scores: "NDArray[np.float32]") -> None:
    assert sorted(order_of(scores, np.arange(240) % 12)) == list(range(240))


def test_within_a_class_the_smallest_margin_that_rounding_leaves_comes_first(scores: "NDArray[np.float32]") -> None:
    order, margins = order_of(scores, np.arange(240) % 12), _margins(scores)
    third = [at for at in order if scores[at].argmax() == 3]
    enough = [at for at in third if margins[at] >= LEAST_MARGIN]
    assert third[: len(enough)] == sorted(enough, key=lambda at: margins[at])


def test_a_class_that_is_never_predicted_is_taken_from_the_labels() -> None:
    scores = np.array([[0.9, 0.1, 0.0]] * 6 + [[0.1, 0.9, 0.0]] * 6, np.float32)
    labels = np.array([0] * 6 + [1] * 5 + [2])
    assert 11 in order_of(scores, labels)[:3]


def test_a_kept_order_is_read_and_one_of_other_images_is_not(tmp_path: Path) -> None:
    np.save(tmp_path / ORDER, np.array([2, 0, 1]))
    assert read_order(tmp_path, 3) == [2, 0, 1]
    assert read_order(tmp_path, 5) == [2, 0, 1]
    assert read_order(tmp_path, 2) == [0, 1]
    assert read_order(None, 2) == [0, 1]
