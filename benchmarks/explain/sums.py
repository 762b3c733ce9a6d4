# SPDX-License-Identifier: Apache-2.0
"""What is added up over images for one part of a network."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.explain.faulty import exceeds
from edgeferry.benchmarks.explain.matching import Stretch
from edgeferry.benchmarks.explain.result import ChannelError, LayerCost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

WORST: Final = 3


def _nothing() -> "NDArray[np.float64]":
    import numpy as np

    return np.zeros(())


@dataclass
class Sums:
    """Sums of squares over all values, and over images of what an error changes."""

    images: int = 0
    meant: float = 0.0
    entering: float = 0.0
    entering_meant: float = 0.0
    added: float = 0.0
    leaving: float = 0.0
    expected: float = 0.0
    unexplained: float = 0.0
    effect: float = 0.0
    unexplained_effect: float = 0.0
    restored: int = 0
    flipped: int = 0
    beyond: int = 0
    values: int = 0
    low: float = float("inf")
    high: float = float("-inf")
    channels: "NDArray[np.float64]" = field(default_factory=_nothing)
    channels_left: "NDArray[np.float64]" = field(default_factory=_nothing)
    channels_expected: "NDArray[np.float64]" = field(default_factory=_nothing)
    held: tuple[float, float] | None = field(default=None)

    def add_values(self, meant: "Array", found: "Array", computed: "Array", predicted: "Array | None") -> None:
        """Add the Keras model's values, the artifact's, what the Keras layers make of its input, and what its precision would."""
        error = found - computed
        self.meant += square(meant)
        self.leaving += square(found - meant)
        self.added += square(error)
        left = unexplained(found, computed, predicted)
        if predicted is not None:
            self.expected += square(predicted - computed)
            self.channels_expected = self.channels_expected + by_channel(predicted - computed)
        self.unexplained += square(left)
        self.low, self.high = min(self.low, float(meant.min())), max(self.high, float(meant.max()))
        self.values += meant.size
        if self.held is not None:
            step = (self.held[1] - self.held[0]) / 255
            self.beyond += int(((meant < self.held[0] - step) | (meant > self.held[1] + step)).sum())
        self.channels = self.channels + by_channel(error)
        self.channels_left = self.channels_left + by_channel(left)

    def is_faulty(self) -> bool:
        """Return whether the error so far is more than the precision explains."""
        meant = max(self.meant, 1e-30)
        return exceeds((self.unexplained / meant) ** 0.5, (self.expected / meant) ** 0.5, self._excess())

    def as_cost(self, part: Stretch, *, is_predicted: bool) -> LayerCost:
        """Return what the sums come to."""

        def relative(squares: float, meant: float = self.meant) -> float:
            return float((squares / meant) ** 0.5) if meant > 0 else float(squares > 0)

        return LayerCost(
            layers=part.layers,
            operations=part.operations,
            node=part.node,
            tensor=part.tensor,
            starts=part.starts,
            error_in=relative(self.entering, self.entering_meant),
            error_added=relative(self.added),
            error_out=relative(self.leaving),
            error_expected=relative(self.expected) if is_predicted else None,
            error_unexplained=relative(self.unexplained),
            effect=self.effect / max(self.images, 1),
            unexplained_effect=self.unexplained_effect / max(self.images, 1),
            flips_caused=self.restored / self.flipped if self.flipped else None,
            worst_channels=self._worst(),
            channel_excess=self._excess(),
            value_range=(self.low, self.high),
            file_range=self.held,
            clipped=self.beyond / max(self.values, 1),
        )

    def _worst(self) -> tuple[ChannelError, ...]:
        import numpy as np

        if not self.channels.sum():
            return ()
        shares = self.channels / self.channels.sum()
        return tuple(ChannelError(int(at), float(shares[at])) for at in np.argsort(-shares)[:WORST] if shares[at])

    def _excess(self) -> float | None:
        """Return the error of the worst channel as a multiple of what the precision explains in it, or in all on average."""
        import numpy as np

        expected = self.channels_expected
        if not expected.sum():
            return None
        least = np.maximum(expected, expected.mean())
        return float((self.channels_left / least).max() ** 0.5)


def by_channel(values: "NDArray[Any]") -> "NDArray[np.float64]":
    """Return the sum of squares of each channel, the last axis."""
    import numpy as np

    found: NDArray[np.float64] = np.square(values, dtype=np.float64).reshape(-1, values.shape[-1]).sum(axis=0)
    return found


def square(values: "NDArray[Any]") -> float:
    """Return the sum of squares."""
    import numpy as np

    return float(np.square(values, dtype=np.float64).sum())


def unexplained(found: "Array", computed: "Array", predicted: "Array | None") -> "Array":
    """Return what a precision leaves of an error: no more than the error itself, where a prediction is farther off than none."""
    if predicted is None:
        return found - computed
    return found - predicted if square(found - predicted) < square(found - computed) else found - computed
