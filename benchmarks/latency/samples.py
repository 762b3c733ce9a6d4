# SPDX-License-Identifier: Apache-2.0
"""What samples of a latency show: percentiles, each only from enough samples, and drift, launches that differ, two modes."""

import statistics
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.latency.ratio import LEAST_EFFECT
from edgeferry.benchmarks.report.words import milliseconds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The confidence of MLPerf LoadGen's early stopping, and the fewest samples above the percentile that it allows.
PERCENTILE_CONFIDENCE: Final = 0.99
OVERSHOOT: Final = 1
# A drift or a difference between launches is reported where it is less likely than this by chance.
CERTAIN: Final = 0.001
# pyperf's rule: fewer samples show neither an interquartile range nor a mode.
FEWEST: Final = 20
# Ashman, Bird and Zepf (1994) call two modes clean beyond D = 2. Here the modes are found by splitting the sample itself where
# that explains most (Otsu 1979), which gives a normal one 2.7 and a uniform one 3.5. Beyond 4.5, 60 times of one mode (normal,
# lognormal, uniform, exponential) are taken for two in 2 of 100 samples, and two 20 % apart with 3 % of noise are always found.
SEPARATION: Final = 4.5
SMALLEST_MODE: Final = 0.1
FEWEST_FOR_MODES: Final = 60


@cache
def samples_needed(percentile: float) -> int:
    """Return the fewest samples whose second largest bounds a percentile (0 to 100) with 99 % confidence: p90 64, p99 662.

    The binomial test of MLPerf LoadGen's early stopping with one overshoot allowed.

    Raises:
        ValueError: the percentile is not between 0 and 100.
    """
    from scipy.stats import binom

    if not 0 < percentile < 100:
        raise ValueError(f"a percentile is between 0 and 100, not {percentile:g}")
    count = OVERSHOOT + 1
    while binom.cdf(OVERSHOOT, count, 1 - percentile / 100) > 1 - PERCENTILE_CONFIDENCE:
        count += 1
    return count


def percentile_ms(samples_ms: Sequence[float], percentile: float) -> float | None:
    """Return a percentile of latencies in milliseconds, or None where there are too few samples for it."""
    import numpy as np

    return float(np.percentile(samples_ms, percentile)) if len(samples_ms) >= samples_needed(percentile) else None


def percentile_text(samples_ms: Sequence[float], percentile: float) -> str:
    """Return a percentile of latencies in milliseconds as text: ``1.25 ms``, or ``needs 662 samples, has 50``."""
    found = percentile_ms(samples_ms, percentile)
    if found is None:
        return f"needs {samples_needed(percentile)} samples, has {len(samples_ms)}"
    return milliseconds(found)


def drift(launches_ms: Sequence[Sequence[float]]) -> float | None:
    """Return by which share the times move from a launch's first round to its last, or None where not all launches show it.

    The slope is that of Theil and Sen, the test Kendall's tau; the first tenth is left out, in which a processor wakes up.
    """
    from scipy.stats import kendalltau, theilslopes

    moved = []
    for launch in launches_ms:
        rest = launch[len(launch) // 10 :]
        if len(rest) < FEWEST // 2:
            return None
        rounds = range(len(rest))
        share = theilslopes(rest, rounds).slope * (len(rest) - 1) / statistics.median(rest)
        if abs(share) < LEAST_EFFECT or kendalltau(rounds, rest).pvalue > CERTAIN ** (1 / len(launches_ms)):
            return None
        moved.append(share)
    return statistics.median(moved) if len({share > 0 for share in moved}) == 1 else None


def launches_apart(launches_ms: Sequence[Sequence[float]]) -> float | None:
    """Return by which share the medians of launches differ at most, or None where that may be chance (Kruskal and Wallis)."""
    from scipy.stats import kruskal

    if len(launches_ms) < 2 or any(len(launch) < 2 for launch in launches_ms):
        return None
    medians = [statistics.median(launch) for launch in launches_ms]
    apart = max(medians) / min(medians) - 1
    return apart if apart > LEAST_EFFECT and kruskal(*launches_ms).pvalue < CERTAIN else None


def two_modes(samples_ms: Sequence[float]) -> tuple[float, float] | None:
    """Return the two times around which samples cluster, or None where they cluster around one; outliers are no mode."""
    import numpy as np

    if len(samples_ms) < FEWEST_FOR_MODES:
        return None
    logarithms = np.sort(np.log(samples_ms))
    cut = max(1, len(logarithms) // 50)
    rest = logarithms[cut:-cut]
    at = _best_split(rest)
    low, high = rest[:at], rest[at:]
    if min(len(low), len(high)) < SMALLEST_MODE * len(rest):
        return None
    within = np.sqrt((low.var() + high.var()) / 2)
    apart = high.mean() - low.mean()
    if apart < np.log1p(LEAST_EFFECT) or apart < SEPARATION * within:
        return None
    return float(np.exp(np.median(low))), float(np.exp(np.median(high)))


def _best_split(ordered: "NDArray[np.float64]") -> int:
    """Return where to split an ordered sample so that the variance between its two parts is largest (Otsu)."""
    import numpy as np

    counts = np.arange(1, len(ordered))
    sums = np.cumsum(ordered)[:-1]
    means = sums / counts, (ordered.sum() - sums) / (len(ordered) - counts)
    between = counts * (len(ordered) - counts) * (means[0] - means[1]) ** 2
    return int(between.argmax()) + 1
