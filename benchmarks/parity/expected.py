# SPDX-License-Identifier: Apache-2.0
"""What every artifact is compared with: the Keras model's probabilities for the golden images, and the true classes."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeferry.models.reference import LABELS, SCORES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Expected:
    """The Keras model's probabilities [count, classes], the true classes [count] or None where unknown, the labels in order."""

    probabilities: "NDArray[np.float32]"
    classes: "NDArray[np.int64] | None"
    labels: tuple[str, ...]

    def of(self, images: tuple[int, ...] | None) -> "Expected":
        """Return the same for some of the images, by number; None is all."""
        if images is None:
            return self
        classes = None if self.classes is None else self.classes[list(images)]
        return Expected(self.probabilities[list(images)], classes, self.labels)


def read_expected(folder: Path, labels: tuple[str, ...]) -> Expected:
    """Return what the reference in a folder holds."""
    import numpy as np

    classes = np.load(folder / LABELS) if (folder / LABELS).is_file() else None
    return Expected(np.load(folder / SCORES), classes, labels)
