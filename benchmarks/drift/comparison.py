# SPDX-License-Identifier: Apache-2.0
"""Two sets of images compared feature by feature: differences that chance does not explain.

Every test is a permutation test: the images of both sets are shuffled between them, which assumes nothing of distributions. A
feature's difference is Kolmogorov and Smirnov's, the largest distance of the two cumulative distributions; that of the labels is
the largest difference of a label's frequency in standard errors. All tests together call one of honest sets drifted with a
probability of at most LEVEL (Holm, Scandinavian Journal of Statistics 6, 1979).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.drift.features import LABELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

LEVEL: Final = 0.01
# The smallest probability that so many can show, 1 / 5001, is a seventh of what Holm's first step asks of seven tests.
SHUFFLES: Final = 5000
SEED: Final = 20261128
# Of sums in float64; differences are multiples of 1 over the product of both counts.
ROUNDING: Final = 1e-9
# Shuffled at a time.
BATCH: Final = 250


@dataclass(frozen=True)
class Comparison:
    """A feature of two sets: medians, the difference (see above), how probable it is by chance, and whether it is drift.

    ``before`` and ``now`` are medians; of the labels the frequencies of ``label``, which differs most.
    """

    feature: str
    before: float
    now: float
    difference: float
    chance: float
    has_drifted: bool
    label: int | None = None


def compare(
    before: "Mapping[str, NDArray[np.float32]]",
    now: "Mapping[str, NDArray[np.float32]]",
    answers: "tuple[NDArray[np.bool_], NDArray[np.bool_]]",
) -> tuple[Comparison, ...]:
    """Return every feature's comparison, and that of the answers, [count, labels] of each set."""
    import numpy as np

    counts = len(answers[0]), len(answers[1])
    pooled = {name: np.concatenate([before[name], now[name]]) for name in before}
    held = np.concatenate(answers).astype(np.float64)
    seen = {name: _distance(_ranked(values), _chosen(counts, None))[0] for name, values in pooled.items()}
    rates, errors = _rates(held, counts)
    seen[LABELS] = _largest(held, _chosen(counts, None), errors)[0]
    exceeded = dict.fromkeys(seen, 0)
    draw = np.random.default_rng(SEED)
    order = {name: _ranked(values) for name, values in pooled.items()}
    for _ in range(0, SHUFFLES, BATCH):
        chosen = _chosen(counts, draw)
        for name, ranked in order.items():
            exceeded[name] += int((_distance(ranked, chosen) >= seen[name] - ROUNDING).sum())
        exceeded[LABELS] += int((_largest(held, chosen, errors) >= seen[LABELS] - ROUNDING).sum())
    chances = {name: (count + 1) / (SHUFFLES + 1) for name, count in exceeded.items()}
    drifted = _shown(chances)
    medians = {name: (float(np.median(before[name])), float(np.median(now[name]))) for name in pooled}
    worst = int(np.abs((rates[1] - rates[0]) / errors).argmax())
    medians[LABELS] = float(rates[0][worst]), float(rates[1][worst])
    return tuple(
        Comparison(name, *medians[name], float(seen[name]), chances[name], name in drifted, worst if name == LABELS else None)
        for name in seen
    )


def _ranked(values: "NDArray[np.float32]") -> "tuple[NDArray[np.intp], NDArray[np.bool_]]":
    """Return the order of values, and which are the last of equal ones."""
    import numpy as np

    order = values.argsort(kind="stable")
    ordered = values[order]
    return order, np.append(ordered[1:] != ordered[:-1], True)


def _chosen(counts: tuple[int, int], draw: "np.random.Generator | None") -> "NDArray[np.float64]":
    """Return which images are new, 0 or 1, [shuffles, count]: as they are, or shuffled."""
    import numpy as np

    real = np.repeat(np.array([0.0, 1.0]), counts)[None]
    return real if draw is None else draw.permuted(np.repeat(real, BATCH, axis=0), axis=1)


def _distance(ranked: "tuple[NDArray[np.intp], NDArray[np.bool_]]", chosen: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Return the largest distance of two cumulative distributions, for each row of ``chosen``."""
    import numpy as np

    order, is_last = ranked
    is_new = chosen[:, order]
    new = is_new.sum(axis=1, keepdims=True)
    apart = np.cumsum(is_new / new - (1 - is_new) / (is_new.shape[1] - new), axis=1)
    found: NDArray[np.float64] = np.abs(apart[:, is_last]).max(axis=1)
    return found


def _rates(held: "NDArray[np.float64]", counts: tuple[int, int]) -> "tuple[NDArray[np.float64], NDArray[np.float64]]":
    """Return how often each label is the answer in both sets, [2, labels], and the standard error of the difference, [labels]."""
    import numpy as np

    overall = held.mean(axis=0)
    errors = np.sqrt((overall * (1 - overall)).clip(1e-9) * (1 / counts[0] + 1 / counts[1]))
    return np.stack([held[: counts[0]].mean(axis=0), held[counts[0] :].mean(axis=0)]), errors


def _largest(held: "NDArray[np.float64]", chosen: "NDArray[np.float64]", errors: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Return the largest difference of a label's frequency in standard errors, for each row of ``chosen``."""
    import numpy as np

    new = chosen.sum(axis=1, keepdims=True)
    apart = chosen @ held / new - (1 - chosen) @ held / (len(held) - new)
    found: NDArray[np.float64] = np.abs(apart / errors).max(axis=1)
    return found


def _shown(chances: Mapping[str, float]) -> set[str]:
    shown: set[str] = set()
    for rank, name in enumerate(sorted(chances, key=lambda each: chances[each])):
        if chances[name] > LEVEL / (len(chances) - rank):
            break
        shown.add(name)
    return shown
