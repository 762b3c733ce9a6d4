# SPDX-License-Identifier: Apache-2.0
"""The record of what became of an artifact's weights; reading it needs no numpy."""

from dataclasses import dataclass
from typing import Final

# So many sentences of each kind are shown.
SHOWN: Final = 3


@dataclass(frozen=True)
class WeightCheck:
    """What became of an artifact's weights: how many are the model's, and in sentences which are altered or dropped.

    ``unexplained`` are the names of those that no constant of the model explains, as where a converter merged operations.
    ``not_checked`` says why nothing could be compared, None where it was.
    """

    matched: int
    altered: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    unexplained: tuple[str, ...] = ()
    not_checked: str | None = None

    @property
    def failed(self) -> bool:
        """Return whether a weight is not the model's for certain."""
        return bool(self.altered or self.dropped)

    @property
    def summary(self) -> str:
        """Return the result in words."""
        if self.not_checked is not None:
            return f"weights not checked: {self.not_checked}"
        total = self.matched + len(self.altered) + len(self.unexplained)
        parts = [f"{self.matched} of {total} weight tensors are the model's"]
        parts += [f"{len(self.unexplained)} unexplained"] if self.unexplained else []
        parts += [*self.altered[:SHOWN], *self.dropped[:SHOWN]]
        more = max(0, len(self.altered) - SHOWN) + max(0, len(self.dropped) - SHOWN)
        return "; ".join([*parts, f"and {more} more"] if more else parts)


def of_no_reader(kind: str) -> WeightCheck:
    """Return the result for a kind of file whose weights nothing reads."""
    return WeightCheck(0, not_checked=f"nothing reads the weights of {kind} files")
