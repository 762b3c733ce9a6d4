# SPDX-License-Identifier: Apache-2.0
"""Percentiles of latencies, and how many samples each of them needs before it may be said."""

from collections.abc import Sequence
from functools import cache
from typing import Final

from edgeferry.benchmarks.report.words import milliseconds

# The confidence of MLPerf LoadGen's early stopping, and the samples above the percentile that it allows at the least.
CONFIDENCE: Final = 0.99
OVERSHOOT: Final = 1


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
    while binom.cdf(OVERSHOOT, count, 1 - percentile / 100) > 1 - CONFIDENCE:
        count += 1
    return count


def percentile_ms(samples_ms: Sequence[float], percentile: float) -> float | None:
    """Return a percentile of latencies in milliseconds, or None where there are too few samples for it."""
    import numpy as np

    return float(np.percentile(samples_ms, percentile)) if len(samples_ms) >= samples_needed(percentile) else None


def percentile_told(samples_ms: Sequence[float], percentile: float) -> str:
    """Return a percentile of latencies in milliseconds as words: ``1.25 ms``, or ``needs 662, has 50``."""
    found = percentile_ms(samples_ms, percentile)
    if found is None:
        return f"needs {samples_needed(percentile)}, has {len(samples_ms)}"
    return milliseconds(found)
