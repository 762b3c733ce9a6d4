# SPDX-License-Identifier: Apache-2.0
"""How many times as long one thing takes as another: paired samples of one run, with an interval and a verdict.

What disturbs a call only makes it longer, and one artifact more than another: medians, and their ratios, move with what else the
machine does. The minimum of a few times moves little, and consecutive rounds still see the same state of the machine.
From one comparison of ten launches to the next, the ratio of ONNX Runtime to LiteRT spreads by 0.27 % with this estimate, by
0.89 % with the median of single pairs (CPU time; wall time by 0.9 and 2.0 %), with bursty load on the machine by 0.15 and 0.37 %
(MobileNetV2 0.35 at 96 x 96 on 2 cores with 3 busy processes, 100 launches of 30 rounds each). With minima of three rounds or ten
it is 0.38 and 0.25 %; where a machine's own speed wanders, fewer are better.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The minimum time of each side in so many consecutive rounds makes a pair.
QUIETEST_OF: Final = 5
CONFIDENCE: Final = 0.95
RESAMPLES: Final = 4000
# Relative changes below this are not reported as a change.
LEAST_EFFECT: Final = 0.05

SpeedVerdict = Literal["faster", "slower", "inconclusive"]
Clock = Literal["CPU time", "wall time"]
CLOCKS: Final[tuple[Clock, Clock]] = ("CPU time", "wall time")


@dataclass(frozen=True)
class Ratio:
    """The median ratio of paired times, new to old, and its 95 % bootstrap interval."""

    ratio: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """Return how far the interval reaches from 1, as a factor: of a baseline against itself, the noise floor."""
        return math.exp(max(abs(math.log(self.low)), abs(math.log(self.high))))


def paired_ratio(old: "NDArray[np.float64]", new: "NDArray[np.float64]") -> Ratio:
    """Return the ratio of interleaved times [launches, rounds]: the median over pairs of the minima of five rounds.

    The interval is of a bootstrap over launches and, within each, over pairs: launches differ by more than rounds do
    (Kalibera and Jones, "Rigorous benchmarking in reasonable time", 2013).

    Raises:
        ValueError: the samples are not pairs, or a time is not positive.
    """
    import numpy as np

    if old.shape != new.shape or old.ndim != 2 or not old.size:
        raise ValueError(f"paired times have the same shape [launches, rounds]; these have {old.shape} and {new.shape}")
    if min(old.min(), new.min()) <= 0:
        raise ValueError("a time is not positive: the clock is too coarse for it, or was set back")
    logarithms = np.log(_quietest(new) / _quietest(old))
    generator = np.random.default_rng(0)
    launches, pairs = logarithms.shape
    chosen = generator.integers(launches, size=(RESAMPLES, launches, 1))
    within = generator.integers(pairs, size=(RESAMPLES, launches, pairs))
    medians = np.median(logarithms[chosen, within].reshape(RESAMPLES, -1), axis=1)
    low, high = np.quantile(medians, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Ratio(math.exp(np.median(logarithms)), math.exp(low), math.exp(high))


def speed_verdict(found: Ratio, null: Ratio) -> SpeedVerdict:
    """Return whether a ratio shows a difference, given the ratio of the baseline to itself in the same run.

    A difference is reported where the interval contains neither 1 nor anything within the noise floor.
    """
    if found.low > null.reach:
        return "slower"
    return "faster" if found.high < 1 / null.reach else "inconclusive"


def is_regression(found: Ratio, null: Ratio, minimum_effect: float) -> bool:
    """Return whether the whole interval lies beyond a minimum effect (0.05 is 5 %) and beyond the noise floor."""
    return speed_verdict(found, null) == "slower" and found.low > 1 + minimum_effect


def speed_text(found: Ratio) -> str:
    """Return a ratio of times as people read it: ``66x faster`` for 0.0151, ``1.25x slower`` for 1.25."""
    return f"{_factor(found.ratio, is_faster=_is_faster(found))} {'faster' if _is_faster(found) else 'slower'}"


def interval_text(found: Ratio) -> str:
    """Return the interval in the same direction as ``speed_text``: ``[64x, 69x]``; below 1x is the other direction."""
    ends = (found.high, found.low) if _is_faster(found) else (found.low, found.high)
    return f"[{', '.join(_factor(end, is_faster=_is_faster(found)) for end in ends)}]"


def noise_text(null: Ratio) -> str:
    """Return the noise floor of a run, by its baseline compared with itself, as a percentage: ``19 %``."""
    share = 100 * (null.reach - 1)
    return f"{share:.1f} %" if share < 9.95 else f"{share:.0f} %"


def _is_faster(found: Ratio) -> bool:
    return found.ratio < 1


def _factor(ratio: float, *, is_faster: bool) -> str:
    factor = 1 / ratio if is_faster else ratio
    # Near 1 the third decimal matters: regressions of a few percent are what is looked for.
    return f"{factor:.3f}x" if 0.5 < factor < 2 else f"{factor:.1f}x" if factor < 10 else f"{factor:,.0f}x"


def _quietest(times: "NDArray[np.float64]") -> "NDArray[np.float64]":
    """Return the minima, [launches, pairs], of times [launches, rounds]; rounds that make no whole pair are left out."""
    launches, rounds = times.shape
    size = min(QUIETEST_OF, rounds)
    least: NDArray[np.float64] = times[:, : rounds - rounds % size].reshape(launches, -1, size).min(axis=2)
    return least
