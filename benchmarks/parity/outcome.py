# SPDX-License-Identifier: Apache-2.0
"""What a check of one artifact on one target can come to."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

# passed, failed: measured. inconclusive: measured, but with too little evidence for either. unsupported: this runtime cannot
# run this artifact. not run: the format or the target is not available here. not checked: the artifact was exported, but no
# target here could check it.
Outcome = Literal["passed", "failed", "inconclusive", "unsupported", "not run", "not checked"]
OUTCOMES: Final[tuple[Outcome, ...]] = get_args(Outcome)

# The number of a class; of a multi-label classifier, the numbers of the labels that hold.
Answer = int | tuple[int, ...]

# So many flipped images are kept of each row, the largest differences first.
FLIPS_KEPT: Final = 24


@dataclass(frozen=True)
class Flip:
    """A golden image, by number, to which the artifact gives another answer than the Keras model.

    ``label`` is the true answer, None where it is unknown; ``reference`` the Keras model's, ``found`` the artifact's.
    ``difference`` is the largest difference of any probability.
    """

    image: int
    label: Answer | None
    reference: Answer
    found: Answer
    difference: float


@dataclass(frozen=True)
class Verdict:
    """An outcome, the sentence that says why, and what it was decided on.

    ``code`` is the code of the error that is the reason, where one is. ``images`` is how many golden images were compared, None
    where none were; ``probes`` how many images without labels were compared too. ``metrics`` holds the value of every metric by
    its name, None where it cannot be computed; it is empty where the scores could not be compared at all. ``flips`` holds the
    golden images with another class, at most FLIPS_KEPT, the largest differences first.
    """

    outcome: Outcome
    reason: str
    code: str | None = None
    images: int | None = None
    metrics: Mapping[str, float | None] = field(default_factory=dict)
    probes: int = 0
    flips: tuple[Flip, ...] = ()

    @property
    def passed(self) -> bool:
        """Say whether parity held."""
        return self.outcome == "passed"
