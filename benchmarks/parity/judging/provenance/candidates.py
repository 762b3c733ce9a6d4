# SPDX-License-Identifier: Apache-2.0
"""What a file's weights can come from: the model's constants, and weights that a float32 file of the same kind merged itself."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeferry.benchmarks.parity.judging.provenance.comparison import EXACT, MERGED
from edgeferry.benchmarks.parity.judging.provenance.layout import compact
from edgeferry.exporters.weights.constants import Constants, ModelConstant
from edgeferry.exporters.weights.stored import StoredWeight
from edgeferry.models.preprocessing import Preprocessing

Array = NDArray[Any]
# Numbers of a constant that are compared first; only where all of them are right the rest is read.
SAMPLE: Final = 1024


@dataclass(frozen=True, eq=False)
class Candidate:
    """One constant that weights can come from, in the compact layout of the model.

    ``content`` is the digest of its numbers: constants that are equal are one. ``epsilon`` is what float32 arithmetic may change,
    0 where all are zero. ``positions`` are those of ``sample``.
    """

    constant: ModelConstant
    shape: tuple[int, ...]
    letters: str
    content: str
    epsilon: float
    positions: tuple[Array, ...]
    sample: Array
    read: Callable[[], Array]

    @property
    def size(self) -> int:
        """Return how many numbers it has."""
        return int(np.prod(self.shape, dtype=np.int64))


def candidate(constant: ModelConstant, read: Callable[[], Array], axes: str) -> Candidate:
    """Return a constant as a candidate; ``read`` returns its values, in any shape with the axes named."""
    values = read()
    shape, letters = compact(values.shape, axes)
    values = values.reshape(shape)
    flat = (
        np.arange(values.size) if values.size <= SAMPLE else np.random.default_rng(values.size).integers(0, values.size, SAMPLE)
    )
    positions = tuple(np.unravel_index(flat, shape))
    return Candidate(
        constant,
        shape,
        letters,
        hashlib.sha256(np.ascontiguousarray(values).data).hexdigest(),
        (EXACT if constant.required else MERGED) * (float(np.abs(values).max()) if values.size else 0.0),
        positions,
        values[positions],
        lambda: read().reshape(shape),
    )


def part_of(whole: Candidate, values: Array) -> Candidate:
    """Return a part of a constant as one of its own."""
    return candidate(whole.constant, _always(values), whole.letters)


def candidates_of(constants: Constants) -> Iterator[Candidate]:
    """Yield the model's constants; their arrays stay in their file."""
    arrays = constants.arrays()
    for constant in constants.constants:
        yield candidate(constant, _reader(arrays, constant.name), constant.axes)


def _reader(arrays: Callable[[str], Array], name: str) -> Callable[[], Array]:
    return lambda: arrays(name)


def preprocessing_of(how: Preprocessing) -> Iterator[Candidate]:
    """Yield what a file that takes pixels holds of the preprocessing: an offset and a factor per channel."""
    mean, std = np.asarray(how.mean, np.float32), np.asarray(how.std, np.float32)
    for name, values in {"mean": -mean / std[0], "std": std[0] / std}.items():
        constant = ModelConstant(name, "preprocessing", "other", "", (), "none", required=False)
        if values.size > 1:
            yield candidate(constant, _always(values), "")


def _always(values: Array) -> Callable[[], Array]:
    return lambda: values


def merged_by_converter(stored: StoredWeight) -> Candidate:
    """Return weights of a float32 file that are not the model's as something that files of its kind must hold."""
    constant = ModelConstant(stored.name, stored.name, stored.role, stored.axes, (), "none", required=False)
    return candidate(constant, lambda: stored.values, stored.axes)


def by_size(candidates: Iterable[Candidate]) -> dict[int, list[Candidate]]:
    """Return candidates by how many numbers they have, those that a file has to hold first."""
    found: dict[int, list[Candidate]] = defaultdict(list)
    for each in sorted(candidates, key=lambda each: not each.constant.required):
        found[each.size].append(each)
    return found
