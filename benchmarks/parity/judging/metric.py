# SPDX-License-Identifier: Apache-2.0
"""What a parity metric is, and which there are: a module below ``edgeferry.benchmarks`` that binds ``METRICS`` adds some."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Final, Literal

import edgeferry.benchmarks
from edgeferry.benchmarks.report.words import ABSENT, percent, significant
from edgeferry.models.artifact import Tolerance
from edgeferry.models.system.registry import records_in

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeferry.benchmarks.parity.judging.expected import Expected

Direction = Literal["at_least", "at_most"]
WORDS: Final[dict[Direction, str]] = {"at_least": "at least", "at_most": "at most"}


def _as_it_is(tolerance: float, _images: int) -> float:
    return tolerance


@dataclass(frozen=True)
class Metric:
    """One number that says how close an artifact's probabilities are to the Keras model's.

    ``name`` is its key in JSON, ``title`` and ``short`` head its column, ``short`` where a terminal is narrow (lines of some six
    characters). ``compute`` is handed probabilities [count, classes] and what was expected, and returns None where the metric
    has no value. ``text`` formats a value for a table; a value that is ``counted`` is a fraction of images and is shown with
    their number. ``tolerance`` names the field of Tolerance that limits it in a ``direction``, None where nothing does;
    ``limit`` turns that field and the number of images into the limit itself. One that ``is_optional`` limits nothing where it
    has no value; one that ``is_detail`` has no column in a terminal. Columns stand in ``order``, and the last are the first that
    a narrow terminal leaves out.
    """

    name: str
    title: str
    short: str
    meaning: str
    compute: "Callable[[NDArray[np.float32], Expected], float | None]"
    text: Callable[[float | None], str] = significant
    counted: bool = False
    tolerance: str | None = None
    direction: Direction = "at_most"
    limit: Callable[[float, int], float] = _as_it_is
    is_optional: bool = False
    is_detail: bool = False
    order: int = 100

    def value(self, probabilities: "NDArray[np.float32]", expected: "Expected") -> float | None:
        """Return its value as a plain number, whatever kind of number ``compute`` returns."""
        found = self.compute(probabilities, expected)
        return None if found is None else float(found)

    def cell(self, value: float | None, images: int | None) -> str:
        """Return a value for a table, with the number of images it is a fraction of."""
        shown = self.text(value)
        return f"{shown} of {images}" if self.counted and shown != ABSENT and images is not None else shown

    def tolerated(self, tolerance: Tolerance) -> str:
        """Return what a tolerance demands of it: ``agreement at least 97.0 %``; nothing where it is not limited."""
        if self.tolerance is None:
            return ""
        value = getattr(tolerance, self.tolerance)
        return f"{self.title} {WORDS[self.direction]} {percent(value) if self.counted else significant(value)}"

    def problem(self, value: float | None, images: int, tolerance: Tolerance) -> str:
        """Return why a value is not within the tolerance, as a sentence, or nothing where it is or is not limited."""
        if self.tolerance is None or (value is None and self.is_optional):
            return ""
        limit = self.limit(getattr(tolerance, self.tolerance), images)
        if value is not None and (value >= limit if self.direction == "at_least" else value <= limit):
            return ""
        expected = f"{round(limit * images, 1):g}" if self.counted else significant(limit)
        return f"{self.title} is {self._amount(value, images)}; expected {WORDS[self.direction]} {expected}"

    def _amount(self, value: float | None, images: int) -> str:
        if value is None:
            return "without a value"
        return f"{value * images:.0f} of {images} images" if self.counted else significant(value)


@cache
def metrics() -> dict[str, Metric]:
    """Return every metric by name, in the order of their columns."""
    found = [metric for _, metric in records_in(edgeferry.benchmarks, "METRICS")]
    return {metric.name: metric for metric in sorted(found, key=lambda metric: (metric.order, metric.name))}
