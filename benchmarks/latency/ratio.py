# SPDX-License-Identifier: Apache-2.0
"""How many times as long one thing takes as another: paired samples of one run, with an interval and a verdict.

What disturbs a call only makes it longer, and one artifact more than another: medians, and their ratios, move with what else the
machine does. The least of some times moves little, and of rounds that follow each other it is still of one state of the machine.
From one comparison of ten launches to the next, the ratio of ONNX Runtime to LiteRT spreads by 0.27 % so, by 0.89 % as the median
of single pairs (CPU time; the wall's by 0.9 and 2.0 %), beside work in bursts by 0.15 and 0.37 % (MobileNetV2 0.35 at 96 x 96 on
2 cores beside 3 busy processes, 100 launches of 30 rounds each). Of three rounds or ten it is 0.38 and 0.25 %; where a machine's
own speed wanders, fewer are better.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Of so many rounds that follow each other, the least time of each side makes a pair.
QUIETEST_OF: Final = 5
CONFIDENCE: Final = 0.95
RESAMPLES: Final = 4000

Verdict = Literal["faster", "slower", "cannot tell"]
Clock = Literal["CPU time", "wall time"]


@dataclass(frozen=True)
class Ratio:
    """The median ratio of paired times, new to old, and its 95 % bootstrap interval."""

    ratio: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """Return how far the interval reaches from 1, as a factor: of a thing beside itself, what may not be claimed."""
        return math.exp(max(abs(math.log(self.low)), abs(math.log(self.high))))


def paired_ratio(old: "NDArray[np.float64]", new: "NDArray[np.float64]") -> Ratio:
    """Return the ratio of times [launches, rounds], taken in turns: the median of pairs of the least times of five rounds.

    The interval is of a bootstrap over launches and, within each, over pairs: launches differ by more than rounds do
    (Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013).

    Raises:
        ValueError: the samples are not pairs, or a time is not positive.
    """
    import numpy as np

    if old.shape != new.shape or old.ndim != 2 or not old.size:
        raise ValueError(f"paired times have the same shape [launches, rounds]; these have {old.shape} and {new.shape}")
    if min(old.min(), new.min()) <= 0:
        raise ValueError("a time is not positive: the clock is too coarse for it, or stepped")
    logarithms = np.log(_quietest(new) / _quietest(old))
    draw = np.random.default_rng(0)
    launches, pairs = logarithms.shape
    chosen = draw.integers(launches, size=(RESAMPLES, launches, 1))
    within = draw.integers(pairs, size=(RESAMPLES, launches, pairs))
    medians = np.median(logarithms[chosen, within].reshape(RESAMPLES, -1), axis=1)
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(math.exp(np.median(logarithms)), math.exp(low), math.exp(high))


def verdict(found: Ratio, null: Ratio) -> Verdict:
    """Return what may be said of a ratio beside that of a thing and itself, both of one run.

    A difference is claimed where the interval leaves out 1 and all that the null comparison's interval reaches.
    """
    if found.low > null.reach:
        return "slower"
    return "faster" if found.high < 1 / null.reach else "cannot tell"


def is_regression(found: Ratio, null: Ratio, minimum_effect: float) -> bool:
    """Say whether the whole interval lies beyond a minimum effect (0.05 is 5 %) and beyond what may be claimed."""
    return verdict(found, null) == "slower" and found.low > 1 + minimum_effect


def _quietest(times: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Return the least times, [launches, pairs], of times [launches, rounds]; rounds that make no whole pair are left out."""
    launches, rounds = times.shape
    size = min(QUIETEST_OF, rounds)
    least: NDArray[np.float64] = times[:, : rounds - rounds % size].reshape(launches, -1, size).min(axis=2)
    return least
