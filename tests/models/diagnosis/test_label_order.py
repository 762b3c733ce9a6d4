# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edgeferry.models.diagnosis.label_order import better_order, named_orders, order_in_words, order_to_write
from edgeferry.models.diagnosis.votes import Votes, votes_of_classes

ANIMALS = ("Ant", "Bee", "Cow", "Dog", "Elk", "Fox", "Gnu", "Hen", "ibis", "Jay")
NUMBERS = tuple(map(str, range(1, 13)))


def votes(order: tuple[int, ...], images: int, accuracy: float = 0.9, seed: int = 0) -> Votes:
    """Return what the predictions say of a model that has its labels in an order and is right so often."""
    return votes_of_classes(*predictions(order, images, accuracy, seed), len(order))


def predictions(order: tuple[int, ...], images: int, accuracy: float = 0.9, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return outputs and classes of a model that has its labels in an order and is right so often."""
    rng = np.random.default_rng(seed)
    classes = np.arange(images) % len(order)
    right = np.argsort(order)[classes]
    return np.where(rng.random(images) < accuracy, right, rng.integers(0, len(order), images)), classes


def exchanged(one: int, other: int, count: int = 10) -> tuple[int, ...]:
    order = list(range(count))
    order[one], order[other] = other, one
    return tuple(order)


def test_two_exchanged_labels_are_found() -> None:
    assert better_order(votes(exchanged(2, 7), 100), ANIMALS) == exchanged(2, 7)


def test_three_labels_in_a_circle_are_found() -> None:
    order = (3, 1, 2, 5, 4, 0, 6, 7, 8, 9)
    assert better_order(votes(order, 200), ANIMALS) == order


@pytest.mark.parametrize(
    "name", [name for name, _ in named_orders(NUMBERS) if "numbers within" not in name and "case" not in name]
)
def test_orders_with_a_name_are_found_with_few_images_of_each_class(name: str) -> None:
    order = dict(named_orders(NUMBERS))[name]
    assert better_order(votes(order, 36, accuracy=0.7), NUMBERS) == order


def test_labels_in_their_right_order_stay_there() -> None:
    straight, found = tuple(range(10)), []
    for seed in range(300):
        accuracy, images = (0.3, 0.6, 0.9)[seed % 3], (20, 60, 100, 400)[seed % 4]
        found.append(better_order(votes(straight, images, accuracy, seed), ANIMALS))
    assert found == [None] * 300


def test_two_classes_that_look_the_same_are_not_exchanged() -> None:
    found = []
    for seed in range(200):
        predicted, classes = predictions(tuple(range(10)), 200, 0.95, seed)
        alike = classes >= 8
        predicted[alike] = np.random.default_rng(seed).integers(8, 10, int(alike.sum()))
        found.append(better_order(votes_of_classes(predicted, classes, 10), ANIMALS))
    assert sum(each is not None for each in found) <= 2


def test_an_exchange_needs_images_of_both_classes() -> None:
    predicted, classes = predictions(exchanged(2, 7), 200, 1.0)
    kept = (classes != 7) | (np.arange(200) < 20)
    assert better_order(votes_of_classes(predicted[kept], classes[kept], 10), ANIMALS) is None


def test_an_exchange_is_named_with_its_labels_and_where_the_order_comes_from() -> None:
    words = order_in_words(exchanged(8, 9), ANIMALS)
    assert (
        words == "the labels 'ibis' and 'Jay' exchanged (the order of sorted(), which image_dataset_from_directory gives folders)"
    )
    assert order_in_words(exchanged(2, 7), ANIMALS) == "the labels 'Cow' and 'Hen' exchanged"


def test_the_line_to_paste_has_the_labels_in_their_right_order() -> None:
    assert order_to_write((1, 0, 2), ("a", "b", 'c"')) == 'labels = ["b", "a", "c\\""]'


def test_of_a_long_list_only_the_lines_to_change_are_named() -> None:
    labels = tuple(f"class {number}" for number in range(30))
    assert order_to_write(exchanged(2, 7, 30), labels) == "labels with 'class 7' as number 3, 'class 2' as number 8"
