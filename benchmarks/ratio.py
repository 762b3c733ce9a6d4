# SPDX-License-Identifier: Apache-2.0
"""How many times as long one thing takes as another: paired samples of one run, with an interval and a verdict."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

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
    """Return the ratio of times [launches, rounds], taken in turns.

    The interval is of a bootstrap over launches and, within each, over rounds: launches differ by more than rounds do
    (Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013).

    Raises:
        ValueError: the samples are not pairs, or a time is not positive.
    """
    import numpy as np

    if old.shape != new.shape or old.ndim != 2 or not old.size:
        raise ValueError(f"paired times have the same shape [launches, rounds]; these have {old.shape} and {new.shape}")
    if min(old.min(), new.min()) <= 0:
        raise ValueError("a time is not positive: the clock is too coarse for it, or stepped")
    logarithms = np.log(new / old)
    draw = np.random.default_rng(0)
    launches, rounds = logarithms.shape
    chosen = draw.integers(launches, size=(RESAMPLES, launches, 1))
    within = draw.integers(rounds, size=(RESAMPLES, launches, rounds))
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
