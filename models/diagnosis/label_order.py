# SPDX-License-Identifier: Apache-2.0
"""The order of labels that a model's own predictions speak for: exchanged, sorted, shifted by one."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from edgeferry.models.binomial import sign_test
from edgeferry.models.diagnosis.evidence import CERTAIN
from edgeferry.models.diagnosis.votes import Order, Votes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# An exchange that has no name needs the votes of each class, twice as many of them there than where they should be, and this
# certainty; it is not divided by the number of pairs, since each class has to speak for it by itself.
CERTAIN_EXCHANGE: Final = 5e-3
# An order with a name may be right on this share of the images less than one without.
SAME: Final = 0.02
# A longer list of labels is not printed.
MOST_PRINTED: Final = 20
SORTED: Final = "the order of sorted(), which image_dataset_from_directory gives folders"


def named_orders(labels: Sequence[str]) -> Iterator[tuple[str, Order]]:
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


def better_order(votes: Votes, labels: Sequence[str]) -> Order | None:
    """Return the order under which predictions are right on clearly more images, or None.

    One with a name is preferred where no exchange of single labels is right on more than 2 % more of the images.
    """
    straight = tuple(range(len(labels)))
    found = [order for _, order in named_orders(labels) if order != straight]
    certain = [order for order in dict.fromkeys(found) if _p(votes, order) < CERTAIN / max(1, len(found))]
    free = _assigned(votes)
    best = max(certain, key=lambda order: votes.right(order).sum(), default=None)
    if best is not None and free is not None:
        ahead = votes.right(free).sum() - votes.right(best).sum()
        return best if ahead <= SAME * len(votes.right(None)) else free
    return best or free


def _p(votes: Votes, order: Order) -> float:
    """Return the one-sided p-value of the images that are right in more labels under an order (sign test)."""
    now, then = votes.right(None), votes.right(order)
    return sign_test(int((then > now).sum()), int((now > then).sum()))


def _assigned(votes: Votes) -> Order | None:
    """Return the best assignment of labels to outputs, of it only the exchanges that every class in them speaks for."""
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    counts, count = votes.counts, len(votes.counts)
    # Of equals, what stays as it is.
    outputs = linear_sum_assignment(counts + 0.5 * np.eye(count), maximize=True)[1]
    order, straight = np.arange(count), np.arange(count)
    for cycle in _cycles(outputs):
        there, here = counts[cycle, outputs[cycle]], counts[cycle, cycle]
        spoken = bool(((there >= votes.least[cycle]) & (there > 2 * here)).all())
        exchanged = straight.copy()
        exchanged[outputs[cycle]] = cycle
        if spoken and _p(votes, tuple(exchanged.tolist())) < CERTAIN_EXCHANGE:
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


def order_in_words(order: Order, labels: Sequence[str]) -> str:
    """Return what an order changes: ``with the labels 'ibis' and 'Jay' exchanged``."""
    changed = [at for at, place in enumerate(order) if at != place]
    names = [name for name, named in named_orders(labels) if named == order][:1]
    if len(changed) == 2:
        words = f"the labels {labels[changed[0]]!r} and {labels[changed[1]]!r} exchanged"
        return f"{words} ({names[0]})" if names and len(labels) > 2 else words
    return f"the labels in another order ({names[0]})" if names else f"{len(changed)} labels in another order"


def order_to_write(order: Order, labels: Sequence[str]) -> str:
    """Return the line of the config with the labels in an order, or where there are too many which of their lines to change."""
    if len(labels) <= MOST_PRINTED:
        return f"labels = [{', '.join(json.dumps(labels[place], ensure_ascii=False) for place in order)}]"
    changed = [at for at, place in enumerate(order) if at != place]
    shown = ", ".join(f"{labels[order[at]]!r} as number {at + 1}" for at in changed[:MOST_PRINTED])
    return f"labels with {shown}{f' and {len(changed) - MOST_PRINTED} more' if len(changed) > MOST_PRINTED else ''}"
