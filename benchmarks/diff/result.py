# SPDX-License-Identifier: Apache-2.0
"""What a comparison of two builds found: a result for every format and target, and what else is different."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args

from edgeferry.benchmarks.parity.outcome import Answer

# History: 1, the first. Its JSON Schema is diff.schema.json.
SCHEMA: Final = 1

# worse, better: an exact McNemar test shows it, or one side alone could be run. changed: other probabilities, but not shown to be
# worse or better. same: the same file, or the same probabilities for every image.
DiffState = Literal["worse", "better", "changed", "same", "not compared"]
DIFF_STATES: Final[tuple[DiffState, ...]] = get_args(DiffState)
# What is right and wrong in McNemar's test: the true classes, or where there are none the Keras model's, if it is the same one.
Truth = Literal["labels", "Keras model"]


@dataclass(frozen=True)
class FlippedImage:
    """A golden image, by number, that the new artifact answers in another way than the old one.

    ``label`` is the true answer, None where it is unknown; ``difference`` the largest difference of any probability.
    """

    image: int
    label: Answer | None
    old: Answer
    new: Answer
    difference: float


@dataclass(frozen=True)
class Answers:
    """How the answers of two artifacts differ on the same images.

    ``flipped`` counts the images with another class, ``flips`` holds the first of them, the largest differences first.
    ``judged`` is the number of images of which it is known what is right, by ``truth``; ``old_right`` and ``new_right`` count
    those that each has right, ``only_old`` and ``only_new`` those that it alone has right. ``mean_difference`` is the mean over
    images of each one's largest difference of any probability.
    """

    images: int
    flipped: int
    mean_difference: float
    flips: tuple[FlippedImage, ...]
    truth: Truth | None
    judged: int
    old_right: int
    new_right: int
    only_old: int
    only_new: int


@dataclass(frozen=True)
class ResultDiff:
    """A format on a target, '-' where the files are the same or none was run, and the sentence that says why.

    ``chance`` is how probable a loss at least as large is by chance alone: an exact one-sided McNemar test, None where nothing is
    known to be right. Sizes are in bytes, times in milliseconds, medians of the runs that were compared; None was not measured.
    """

    format: str
    target: str
    state: DiffState
    reason: str
    answers: Answers | None = None
    chance: float | None = None
    old_bytes: int | None = None
    new_bytes: int | None = None
    old_latency_ms: float | None = None
    new_latency_ms: float | None = None

    @property
    def latency_ratio(self) -> float | None:
        """Return the new median latency as a multiple of the old one."""
        return self.new_latency_ms / self.old_latency_ms if self.new_latency_ms and self.old_latency_ms else None


@dataclass(frozen=True)
class Change:
    """Something that an artifact was made from or with: what it is, and its value in both builds, '-' where it has none."""

    format: str
    what: str
    old: str
    new: str


@dataclass(frozen=True)
class BuildDiff:
    """Two builds: where they are, whether they are of the same model and golden images, and every difference."""

    old: str
    new: str
    same_model: bool
    same_golden_images: bool
    images: int
    labels: tuple[str, ...]
    results: tuple[ResultDiff, ...]
    changes: tuple[Change, ...]
    only_old: tuple[str, ...]
    only_new: tuple[str, ...]

    @property
    def counts(self) -> Mapping[DiffState, int]:
        """Return how many results there are of each state."""
        states = [each.state for each in self.results]
        return {state: states.count(state) for state in DIFF_STATES if state in states}

    @property
    def exit_status(self) -> int:
        """Return 0 where nothing is worse, 1 where something is, 2 where nothing was compared."""
        return 1 if "worse" in self.counts else 0 if set(self.counts) - {"not compared"} else 2

    def as_json(self) -> dict[str, Any]:
        """Return what ``edgeferry diff --json`` prints."""
        results = [{**asdict(each), "latency_ratio": each.latency_ratio} for each in self.results]
        return {"schema": SCHEMA, **asdict(self), "results": results, "exit_status": self.exit_status}
