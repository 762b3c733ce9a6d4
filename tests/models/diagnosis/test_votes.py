# SPDX-License-Identifier: Apache-2.0
import numpy as np

from edgeferry.models.diagnosis.label_order import better_order
from edgeferry.models.diagnosis.votes import outputs_of, votes_of_columns

LABELS = ("hat", "car", "dog", "tree", "boat")
OFTEN = (0.05, 0.3, 0.5, 0.7, 0.15)


def columns(images: int, seed: int, noise: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities and true labels of a model whose outputs are in the right order."""
    rng = np.random.default_rng(seed)
    truth = (rng.random((images, len(LABELS))) < OFTEN).astype(np.int64)
    return 1 / (1 + np.exp(-4 * (truth - 0.5) + rng.normal(0, noise, truth.shape))), truth


def test_labels_that_hold_together_in_any_number_keep_their_right_order() -> None:
    found = []
    for seed in range(200):
        probabilities, truth = columns((40, 100, 200)[seed % 3], seed, (1.0, 3.0, 10.0, 40.0)[seed % 4])
        found.append(better_order(votes_of_columns(probabilities, truth), LABELS))
    assert sum(each is not None for each in found) <= 1


def test_exchanged_columns_are_found_whatever_probabilities_they_have() -> None:
    probabilities, truth = columns(100, 0)
    order = (0, 2, 1, 3, 4)
    for given in (probabilities, 0.1 * probabilities, 0.9 + 0.1 * probabilities):
        assert better_order(votes_of_columns(given[:, list(order)], truth), LABELS) == order


def test_an_output_that_is_always_the_same_speaks_for_no_label() -> None:
    probabilities, truth = columns(100, 1)
    truth = truth[np.argsort(truth[:, 1], kind="stable")]
    assert better_order(votes_of_columns(np.ones_like(probabilities), truth), LABELS) is None


def test_true_labels_follow_their_outputs() -> None:
    truth = np.array([[1, 0, 0], [0, 1, 1]])
    assert outputs_of(truth, (1, 2, 0)).tolist() == [[0, 0, 1], [1, 1, 0]]
    assert outputs_of(np.array([0, 1, 2]), (1, 2, 0)).tolist() == [2, 0, 1]
