# SPDX-License-Identifier: Apache-2.0
"""The order of labels that a model's own predictions speak for: exchanged, sorted, shifted by one."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from edgeferry.models.binomial import sign_test
from edgeferry.models.diagnosis.evidence import CERTAIN

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Order = tuple[int, ...]

# An exchange that has no name needs this many images of each class, and twice as many of them there than where they should be.
LEAST_OF_CLASS: Final = 3
# And this certainty; it is not divided by the number of pairs, since each class has to speak for it by itself.
CERTAIN_EXCHANGE: Final = 5e-3
# A longer list of labels is not printed.
MOST_PRINTED: Final = 20
SORTED: Final = "the order of sorted(), which image_dataset_from_directory gives folders"


def named_orders(labels: Sequence[str]) -> "Iterator[tuple[str, Order]]":
    """Yield the orders that have a name: for each output the place of its label in the list."""
    count = len(labels)
    numbers = range(count)
    yield SORTED, tuple(sorted(numbers, key=lambda at: labels[at]))
    yield "the order of numbers within the labels, 2 before 10", tuple(sorted(numbers, key=lambda at: _natural(labels[at])))
    yield "alphabetical order without regard to case", tuple(sorted(numbers, key=lambda at: labels[at].casefold()))
    yield "shifted by one: the first label belongs to the last output", tuple((at + 1) % count for at in numbers)
    yield "shifted by one: the last label belongs to the first output", tuple((at - 1) % count for at in numbers)
    yield "the reverse order", tuple(reversed(numbers))


def _natural(label: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part.casefold()) for part in re.split(r"(\d+)", label) if part]


def outputs_of(classes: "NDArray[np.int64]", order: "Order | None") -> "NDArray[np.int64]":
    """Return the output that belongs to each image's label, [count]."""
    import numpy as np

    return classes if order is None else np.argsort(np.array(order))[classes]


def better_order(predicted: "NDArray[np.int64]", classes: "NDArray[np.int64]", labels: Sequence[str]) -> "Order | None":
    """Return the order under which predictions are right on clearly more images, or None.

    One with a name is preferred where no exchange of single labels is right on more than 2 % more of the images.
    """
    straight = tuple(range(len(labels)))
    found = [order for _, order in named_orders(labels) if order != straight]
    certain = [order for order in dict.fromkeys(found) if _p(predicted, classes, order) < CERTAIN / max(1, len(found))]
    free = _assigned(predicted, classes, len(labels))
    best = max(certain, key=lambda order: _right(predicted, classes, order).sum(), default=None)
    if best is not None:
        ahead = 0 if free is None else _right(predicted, classes, free).sum() - _right(predicted, classes, best).sum()
        return best if ahead <= 0.02 * len(classes) else free
    return free


def _right(predicted: "NDArray[np.int64]", classes: "NDArray[np.int64]", order: "Order | None") -> "NDArray[np.bool_]":
    right: NDArray[np.bool_] = predicted == outputs_of(classes, order)
    return right


def _p(predicted: "NDArray[np.int64]", classes: "NDArray[np.int64]", order: "Order") -> float:
    now, then = _right(predicted, classes, None), _right(predicted, classes, order)
    return sign_test(int((then & ~now).sum()), int((now & ~then).sum()))


def _assigned(predicted: "NDArray[np.int64]", classes: "NDArray[np.int64]", count: int) -> "Order | None":
    """Return the best assignment of labels to outputs, of it only the exchanges that every class in them speaks for."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    confusion = np.zeros((count, count))
    np.add.at(confusion, (classes, predicted), 1)
    # Of equals, what stays as it is.
    outputs = linear_sum_assignment(confusion + 0.5 * np.eye(count), maximize=True)[1]
    order, straight = np.arange(count), np.arange(count)
    for cycle in _cycles(outputs):
        there, here = confusion[cycle, outputs[cycle]], confusion[cycle, cycle]
        spoken = bool(((there >= LEAST_OF_CLASS) & (there > 2 * here)).all())
        exchanged = straight.copy()
        exchanged[outputs[cycle]] = cycle
        if spoken and _p(predicted, classes, tuple(exchanged.tolist())) < CERTAIN_EXCHANGE:
            order[outputs[cycle]] = cycle
    return None if (order == straight).all() else tuple(order.tolist())


def _cycles(outputs: "NDArray[np.int64]") -> "Iterator[list[int]]":
    """Yield the classes that are exchanged among each other."""
    seen: set[int] = set()
    for start in range(len(outputs)):
        cycle, at = [], start
        while at not in seen:
            seen.add(at)
            cycle.append(at)
            at = int(outputs[at])
        if len(cycle) > 1:
            yield cycle


def order_in_words(order: "Order", labels: Sequence[str]) -> str:
    """Return what an order changes: ``with the labels 'ibis' and 'Jay' exchanged``."""
    changed = [at for at, place in enumerate(order) if at != place]
    names = [name for name, named in named_orders(labels) if named == order][:1]
    if len(changed) == 2:
        words = f"the labels {labels[changed[0]]!r} and {labels[changed[1]]!r} exchanged"
        return f"{words} ({names[0]})" if names and len(labels) > 2 else words
    return f"the labels in another order ({names[0]})" if names else f"{len(changed)} labels in another order"


def order_to_write(order: "Order", labels: Sequence[str]) -> str:
    """Return the line of the config with the labels in an order, or where there are too many which of their lines to change."""
    if len(labels) <= MOST_PRINTED:
        return f"labels = [{', '.join(json.dumps(labels[place], ensure_ascii=False) for place in order)}]"
    changed = [at for at, place in enumerate(order) if at != place]
    shown = ", ".join(f"{labels[order[at]]!r} as number {at + 1}" for at in changed[:MOST_PRINTED])
    return f"labels with {shown}{f' and {len(changed) - MOST_PRINTED} more' if len(changed) > MOST_PRINTED else ''}"
