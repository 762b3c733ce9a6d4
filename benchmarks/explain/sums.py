# SPDX-License-Identifier: Apache-2.0
"""What is added up over images for one part of a network."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.explain.matching import Stretch
from edgeferry.benchmarks.explain.result import ChannelError, LayerCost

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

WORST: Final = 3


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
    channels: "NDArray[np.float64] | None" = None
    held: tuple[float, float] | None = field(default=None)

    def add_values(self, meant: "Array", found: "Array", computed: "Array", predicted: "Array | None") -> None:
        """Add the Keras model's values, the artifact's, what the Keras layers make of its input, and what its precision would."""
        import numpy as np

        error = (found - computed).astype(np.float64)
        self.meant += square(meant)
        self.leaving += square(found - meant)
        self.added += square(error)
        if predicted is not None:
            self.expected += square(predicted - computed)
        self.unexplained += square(unexplained(found, computed, predicted))
        self.low, self.high = min(self.low, float(meant.min())), max(self.high, float(meant.max()))
        self.values += meant.size
        if self.held is not None:
            step = (self.held[1] - self.held[0]) / 255
            self.beyond += int(((meant < self.held[0] - step) | (meant > self.held[1] + step)).sum())
        by_channel = np.square(error).reshape(-1, error.shape[-1]).sum(axis=0)
        self.channels = by_channel if self.channels is None else self.channels + by_channel

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
            value_range=(self.low, self.high),
            file_range=self.held,
            clipped=self.beyond / max(self.values, 1),
        )

    def _worst(self) -> tuple[ChannelError, ...]:
        import numpy as np

        if self.channels is None or not self.channels.sum():
            return ()
        shares = self.channels / self.channels.sum()
        return tuple(ChannelError(int(at), float(shares[at])) for at in np.argsort(-shares)[:WORST] if shares[at])


def square(values: "NDArray[Any]") -> float:
    """Return the sum of squares."""
    import numpy as np

    return float(np.square(values, dtype=np.float64).sum())


def unexplained(found: "Array", computed: "Array", predicted: "Array | None") -> "Array":
    """Return what a precision leaves of an error: no more than the error itself, where a prediction is farther off than none."""
    if predicted is None:
        return found - computed
    return found - predicted if square(found - predicted) < square(found - computed) else found - computed
