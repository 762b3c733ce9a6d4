# SPDX-License-Identifier: Apache-2.0
"""Whether a layer computes something else than the Keras model does, rounded to its precision."""

from typing import Final

from edgeferry.benchmarks.explain.result import LayerCost

# A layer does where it is so many times as far from the Keras model's as its precision explains, in all or in one channel.
FAULTY: Final = 2.0
FAULTY_CHANNEL: Final = 6.0
SEVERE: Final = 5.0
# Relative errors of float32 that say nothing: sums in another order. Of 16 bits: a step, since where results are rounded is not
# simulated within what is computed as one.
FLOAT_ERROR: Final = 2e-5
HALF_ERROR: Final = 5e-4


def is_severe(cost: LayerCost) -> bool:
    """Return whether a layer's error is one that no rounding makes, however little it changes."""
    return cost.error_unexplained > SEVERE * max(cost.error_expected or 0.0, HALF_ERROR)


def is_faulty(cost: LayerCost) -> bool:
    """Return whether a layer's error is more than its precision explains, in all or in a channel."""
    return exceeds(cost.error_unexplained, cost.error_expected or 0.0, cost.channel_excess)


def exceeds(error: float, expected: float, channel: float | None) -> bool:
    """Return whether a relative error is more than an expected one; ``channel`` is the worst channel's multiple of it."""
    least = HALF_ERROR if expected > FLOAT_ERROR else FLOAT_ERROR
    return error > FAULTY * max(expected, least) or ((channel or 0.0) > FAULTY_CHANNEL and error > least)
