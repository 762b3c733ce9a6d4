# SPDX-License-Identifier: Apache-2.0
"""What every artifact is compared with: the Keras model's probabilities, the true classes, and what quantization explains."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgeferry.benchmarks.parity.results import RUNS
from edgeferry.models.decision import ONE_LABEL, Decision
from edgeferry.models.reference import FACTS, LABELS, PIXELS, PROBE_SCORES, PROBES, REFERENCE, SCORES
from edgeferry.models.system.files import explain_disk_errors, partial_of, sha256_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The class of a golden image that has no label.
NO_CLASS: Final = -1


@dataclass(frozen=True)
class Expected:
    """The Keras model's probabilities, [count, classes], those of the golden images first, then those of the probes.

    ``classes`` holds the true class of every golden image, [golden], -1 where it has no label, of several
    labels 0 and 1, [golden, labels]; ``labels`` the labels in order; ``decision`` how probabilities become an answer.
    ``simulated`` holds the probabilities of a copy of the model in the artifact's precision, [count, classes], computed without
    any converter; None where there are none.
    """

    probabilities: "NDArray[np.float32]"
    classes: "NDArray[np.int64]"
    labels: tuple[str, ...]
    simulated: "NDArray[np.float32] | None" = None
    decision: Decision = ONE_LABEL

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


def read_expected(folder: Path, labels: tuple[str, ...], decision: Decision = ONE_LABEL) -> Expected:
    """Return what the reference in a folder holds."""
    import numpy as np

    probes = np.load(folder / PROBE_SCORES)
    scores = np.concatenate([np.load(folder / SCORES), probes])
    golden = len(scores) - len(probes)
    classes = np.load(folder / LABELS) if (folder / LABELS).is_file() else np.full(golden, NO_CLASS)
    return Expected(scores, classes, labels, decision=decision)


def images_to_run(build: Path, runs: Path | None = None) -> Path:
    """Return an .npy file with the golden images of a build folder and then its probes, uint8, [count, height, width, channels].

    It is the reference's own file where there are no probes, and else written once for each reference, into the folder ``runs``.
    """
    import numpy as np

    golden, probes = build / REFERENCE / PIXELS, np.load(build / REFERENCE / PROBES, mmap_mode="r")
    if not len(probes):
        return golden
    both = (runs or build / RUNS) / f"images-{sha256_of(build / REFERENCE / FACTS)[:16]}.npy"
    if not both.is_file():
        with explain_disk_errors(both):
            both.parent.mkdir(parents=True, exist_ok=True)
            for old in both.parent.glob("images-*.npy"):
                old.unlink()
            partial = partial_of(both)
            with partial.open("wb") as file:
                np.save(file, np.concatenate([np.load(golden, mmap_mode="r"), probes]))
            partial.replace(both)
    return both
