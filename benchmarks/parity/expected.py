# SPDX-License-Identifier: Apache-2.0
"""What every artifact is compared with: the Keras model's probabilities, the true classes, and what quantization explains."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.models.reference import LABELS, SCORES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The class of a golden image that has no label.
NO_CLASS: Final = -1


@dataclass(frozen=True)
class Expected:
    """The Keras model's probabilities, [count, classes], those of the golden images first, then those of the probes.

    ``classes`` holds the true class of every golden image, [golden], -1 where it has no label; ``labels`` the labels in order.
    ``simulated`` holds the probabilities of a copy of the model in the artifact's precision, [count, classes], computed without
    any converter; None where there are none.
    """

    probabilities: "NDArray[np.float32]"
    classes: "NDArray[np.int64]"
    labels: tuple[str, ...]
    simulated: "NDArray[np.float32] | None" = None

    @property
    def golden(self) -> int:
        """Return the number of golden images."""
        return len(self.classes)

    @property
    def is_labelled(self) -> bool:
        """Return whether the golden images have labels."""
        return bool((self.classes != NO_CLASS).any())

    def of(self, images: tuple[int, ...] | None) -> "Expected":
        """Return the same for some of the golden images, by number; None is all images."""
        if images is None:
            return self
        chosen = list(images)
        simulated = None if self.simulated is None else self.simulated[chosen]
        return replace(self, probabilities=self.probabilities[chosen], classes=self.classes[chosen], simulated=simulated)


def read_expected(folder: Path, labels: tuple[str, ...]) -> Expected:
    """Return what the reference in a folder holds."""
    import numpy as np

    return Expected(np.load(folder / SCORES), np.load(folder / LABELS), labels)
