# SPDX-License-Identifier: Apache-2.0
"""The binomial distribution, exactly, without scipy: what judges artifacts is a small install.

Its cumulative distribution is a regularized incomplete beta function, computed by its continued fraction with Lentz's method
(Press et al., Numerical Recipes, section 6.4); DLMF 8.17.5 and 8.17.22.
"""

import math
from typing import Final

# Relative; each term of the fraction adds about one digit.
PRECISION: Final = 1e-15
MOST_TERMS: Final = 10_000
# In place of a denominator of 0.
TINY: Final = 1e-300
# Halvings of the interval from 0 to 1: as many bits as a float has.
HALVINGS: Final = 60


def at_most(count: int, trials: int, chance: float) -> float:
    """Return how probable at most ``count`` successes in so many trials are, each with the probability ``chance``."""
    return 1.0 if count >= trials else 0.0 if count < 0 else _beta(trials - count, count + 1, 1 - chance)


def at_least(count: int, trials: int, chance: float) -> float:
    """Return how probable at least ``count`` successes in so many trials are."""
    return 1.0 if count <= 0 else 0.0 if count > trials else _beta(count, trials - count + 1, chance)


def smallest_chance(count: int, trials: int, probability: float) -> float:
    """Return the chance of a success under which at least ``count`` successes in so many trials are as probable as this."""
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if at_least(count, trials, middle) < probability else (low, middle)
    return (low + high) / 2


def sign_test(wins: int, losses: int) -> float:
    """Return how probable at least so many wins are by a fair coin, one-sided.

    Of images that only one of two classifiers has right it is McNemar's exact test (Psychometrika 12, 1947).
    """
    return at_least(wins, wins + losses, 0.5)


def _beta(a: int, b: int, x: float) -> float:
    """Return the regularized incomplete beta function of a and b, at least 1, at x from 0 to 1."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):
        # There the other fraction converges faster.
        return 1 - _beta(b, a, 1 - x)
    factor = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)
    return math.exp(factor) * _fraction(a, b, x) / a


def _fraction(a: int, b: int, x: float) -> float:
    upper, lower = 1.0, 1 / _not_zero(1 - (a + b) * x / (a + 1))
    value = lower
    for m in range(1, MOST_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            lower = 1 / _not_zero(1 + term * lower)
            upper = _not_zero(1 + term / upper)
            step = lower * upper
            value *= step
        if abs(step - 1) < PRECISION:
            break
    return value


def _not_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY
