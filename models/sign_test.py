# SPDX-License-Identifier: Apache-2.0
"""The exact sign test; of images that only one of two classifiers has right it is McNemar's test (Psychometrika 12, 1947)."""


def sign_test(wins: int, losses: int) -> float:
    """Return how probable at least so many wins are by a fair coin, one-sided."""
    # This function alone: all of scipy.stats takes a second to import.
    from scipy.special import bdtrc

    return float(bdtrc(wins - 1, wins + losses, 0.5)) if wins else 1.0
