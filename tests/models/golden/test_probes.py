# SPDX-License-Identifier: Apache-2.0
from typing import Any

import numpy as np
import pytest

from edgeferry.models.golden.probes import ENOUGH, MOST, make_probes, probe_count


def scores_of(images: Any) -> Any:
    """Return how bright the left half of each image is next to the right one, as two probabilities."""
    left, right = (images[:, :, half].astype(np.float32).sum(axis=(1, 2, 3)) + 1 for half in (slice(0, 4), slice(4, 8)))
    return np.stack([left, right], axis=1) / (left + right)[:, None]


@pytest.fixture
def golden() -> Any:
    images = np.random.default_rng(1).integers(0, 60, (40, 8, 8, 1), dtype=np.uint8)
    images[:20, :, :4] += 120
    images[20:, :, 4:] += 120
    return images


@pytest.mark.parametrize(("golden", "probes"), [(10, MOST), (120, 360), (360, ENOUGH - 360), (480, 0), (100_000, 0)])
def test_small_golden_sets_get_probes_and_large_ones_none(golden: int, probes: int) -> None:
    assert probe_count(golden, 32 * 32) == probes


def test_large_images_get_fewer_probes() -> None:
    assert (probe_count(100, 224 * 224), probe_count(100, 4096 * 4096)) == (100, 0)


def test_probes_are_less_certain_than_golden_images(golden: Any) -> None:
    probes, scores = make_probes(golden, scores_of(golden), scores_of)
    assert probes.shape == (MOST, 8, 8, 1)
    assert probes.dtype == np.uint8
    assert scores == pytest.approx(scores_of(probes))
    assert np.abs(np.diff(scores)).mean() < np.abs(np.diff(scores_of(golden))).mean()


def test_the_same_golden_images_make_the_same_probes(golden: Any) -> None:
    one, other = (make_probes(golden, scores_of(golden), scores_of)[0] for _ in range(2))
    assert np.array_equal(one, other)


def test_a_large_golden_set_asks_the_model_nothing() -> None:
    images = np.zeros((ENOUGH, 2, 2, 1), np.uint8)
    probes, scores = make_probes(images, np.zeros((ENOUGH, 3), np.float32), lambda _: 1 / 0)
    assert (probes.shape, scores.shape) == ((0, 2, 2, 1), (0, 3))
