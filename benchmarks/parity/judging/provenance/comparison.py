# SPDX-License-Identifier: Apache-2.0
"""How far the weights of a file are from the model's constants, in steps of the type that holds them."""

from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeferry.benchmarks.parity.judging.provenance.layout import Move
from edgeferry.exporters.weights.stored import StoredWeight

Array = NDArray[Any]

# Converters divide by the step in float32: a number half way between two steps may go either way.
SLACK: Final = 0.01
# What float32 arithmetic may differ by, in parts of the largest number: where a number is only scaled, and where factors were
# merged into it (coremltools: 5e-6).
EXACT: Final = 2e-6
MERGED: Final = 2e-5
# Factors of input and of output channels are found in turns; from the second round on they change no more than rounding does.
ROUNDS: Final = 3


@dataclass(frozen=True)
class Rounded:
    """Weights of a file in the model's layout; see StoredWeight."""

    values: Array
    step: Array
    limits: tuple[Array, Array] | None
    palette: Array | None

    def at(self, positions: tuple[Array, ...]) -> "Rounded":
        """Return the weights at some positions."""
        limits = None if self.limits is None else (self.limits[0][positions], self.limits[1][positions])
        return Rounded(self.values[positions], self.step[positions], limits, self.palette)


@dataclass(frozen=True)
class Difference:
    """Weights that differ by more than half a step: how many, in which output channels, and by how much.

    ``channels`` is None where the layout has no output channels. ``steps`` is the largest difference in steps, None of float32;
    ``share`` is the largest difference as a part of the largest weight.
    """

    outside: int
    count: int
    channels: Array | None
    steps: float | None
    share: float

    @property
    def mostly_equal(self) -> bool:
        """Return whether half of the output channels, or three quarters of the weights, are within half a step."""
        if self.channels is not None and self.channels.size > 1 and (~self.channels).sum() * 2 >= self.channels.size:
            return True
        return self.outside * 4 <= self.count


def rounded(stored: StoredWeight, move: Move) -> Rounded:
    """Return a file's weights in the model's layout, as views."""

    def spread(values: Array) -> Array:
        return move(np.broadcast_to(values, stored.values.shape))

    limits = None if stored.limits is None else (spread(stored.limits[0]), spread(stored.limits[1]))
    return Rounded(move(stored.values), spread(stored.step), limits, stored.palette)


def outside(held: Rounded, source: Array, epsilon: float) -> Array:
    """Return where weights differ from what the source would be rounded to; ``epsilon`` is what float32 arithmetic may change."""
    distance = np.abs(held.values - source)
    if held.palette is not None:
        return _not_nearest(held, source, distance, epsilon)
    wrong: Array = ~(distance <= held.step * np.float32((1 + SLACK) / 2) + np.float32(epsilon))
    if held.limits is not None and wrong.any():
        # A range is moved by up to half a step so that it holds zero; what is then beyond it is rounded to its end.
        lowest, highest = held.limits
        quarter = held.step / 4
        ends = ((held.values >= highest - quarter) & (source > held.values)) | (
            (held.values <= lowest + quarter) & (source < held.values)
        )
        wrong &= ~(ends & (distance <= held.step * np.float32(1 + SLACK)))
    return wrong


def _not_nearest(held: Rounded, source: Array, distance: Array, epsilon: float) -> Array:
    palette = np.asarray(held.palette, np.float32)
    nearest = palette[np.searchsorted((palette[1:] + palette[:-1]) / 2, source)]
    wrong: Array = ~(distance <= np.abs(nearest - source) + held.step + np.float32(epsilon))
    return wrong


def difference(held: Rounded, source: Array, letters: str, epsilon: float) -> Difference:
    """Return how weights differ from the source's, all of them; ``letters`` name the source's axes."""
    wrong = outside(held, source, epsilon)
    if not wrong.any():
        return Difference(0, source.size, None, 0.0, 0.0)
    axis = letters.find("O") if letters else source.ndim - 1 if source.ndim > 1 else -1
    channels = None if axis < 0 else np.asarray(wrong.any(axis=tuple(at for at in range(source.ndim) if at != axis)))
    distance = np.abs(held.values - source)[wrong]
    step = held.step[wrong]
    steps = float((distance / step).max()) if (step > 0).all() and held.palette is None else None
    largest = float(np.abs(source).max())
    share = float(distance.max()) / largest if largest else float("inf")
    return Difference(int(wrong.sum()), source.size, channels, steps, share)


def is_merged(held: Rounded, source: Array, letters: str, fold: str) -> bool:
    """Return whether weights are the source times factors that a converter may have merged into them.

    ``fold`` is "uniform", one factor for all, or "per-channel", one for each input channel and one for each output channel.
    """
    if fold == "none":
        return False
    wide, guess = held.values.astype(np.float64), source.astype(np.float64)
    per_channel = [at for at in range(source.ndim) if not letters or letters[at] in "IO"] if fold == "per-channel" else []
    for axis in per_channel * ROUNDS or [-1]:
        over = tuple(at for at in range(source.ndim) if at != axis)
        squares = np.square(guess).sum(axis=over, keepdims=True)
        factor = (wide * guess).sum(axis=over, keepdims=True) / np.where(squares > 0, squares, 1)
        guess = guess * factor
    # Factors found from rounded weights are rounded themselves.
    wide_steps = replace(held, step=held.step * 2)
    return not outside(wide_steps, guess.astype(np.float32), MERGED * float(np.abs(guess).max())).any()
