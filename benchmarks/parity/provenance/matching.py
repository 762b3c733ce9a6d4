# SPDX-License-Identifier: Apache-2.0
"""Finds the constant that each weight of a file comes from, and what is altered or missing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeferry.benchmarks.parity.provenance.candidates import Candidate, by_size
from edgeferry.benchmarks.parity.provenance.comparison import Difference, Rounded, difference, is_merged, outside, rounded
from edgeferry.benchmarks.parity.provenance.layout import moves
from edgeferry.exporters.weights.stored import StoredWeight

Array = NDArray[Any]

# Weights of two unrelated layers correlate by about 1 / sqrt(their number); those of two training steps by far more.
CORRELATES: Final = 0.8
# Where a converter may have merged factors, and only then, so much more is asked for.
CORRELATES_SURELY: Final = 0.95
# The fewest numbers of which a correlation says anything.
LEAST_NUMBERS: Final = 16


@dataclass(frozen=True)
class Origin:
    """Where weights come from: a constant, or one of ``parts`` equal parts of it."""

    candidate: Candidate
    part: int = 0
    parts: int = 1


@dataclass(frozen=True)
class Altered:
    """Weights that come from a constant, but differ from it; ``difference`` is None where a bias is missing or all zero."""

    candidate: Candidate
    stored: StoredWeight | None
    difference: Difference | None


@dataclass
class Matching:
    """What became of a file's weights: the origin by name, what is altered, what is left, and the parts of each content found."""

    origins: dict[str, Origin] = field(default_factory=dict)
    altered: list[Altered] = field(default_factory=list)
    left: list[StoredWeight] = field(default_factory=list)
    found: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    parts: dict[str, int] = field(default_factory=dict)

    def take(self, name: str, origin: Origin) -> None:
        """Note where weights come from."""
        self.origins[name] = origin
        self.found[origin.candidate.content].add(origin.part)
        self.parts[origin.candidate.content] = origin.parts

    def is_found(self, candidate: Candidate) -> bool:
        """Return whether all of a constant is in the file."""
        found = self.found.get(candidate.content, set())
        return len(found) >= self.parts.get(candidate.content, 1)


def matched(stored: Iterable[StoredWeight], candidates: list[Candidate]) -> Matching:
    """Return where each weight comes from; those that no constant explains exactly are ``left``.

    Biases are compared last: the constant that one must be follows from its weights.
    """
    matching, biases, sized = Matching(), [], by_size(candidates)
    for each in stored:
        if each.values.size < 2:
            continue
        if each.role == "bias":
            biases.append(each)
        else:
            _place(each, sized, matching)
    for each in biases:
        if not _linked(each, candidates, matching):
            _place(each, sized, matching)
    return matching


def _place(stored: StoredWeight, sized: dict[int, list[Candidate]], matching: Matching) -> None:
    origins = [*_wholes(stored, sized.get(stored.values.size, ()))] or [*_parts(stored, sized)]
    for origin in origins:
        matching.take(stored.name, origin)
    # A bias of zeros is what converters add where the model has none.
    if not origins and stored.values.any():
        matching.left.append(stored)


def _wholes(stored: StoredWeight, candidates: Iterable[Candidate]) -> Iterator[Origin]:
    """Yield the constants that weights are; of weights of a few numbers there may be several."""
    for each in candidates:
        if any(_is(held, each) for held in held_as(stored, each)):
            yield Origin(each)


def held_as(stored: StoredWeight, each: Candidate) -> Iterator[Rounded]:
    """Yield weights in a constant's layout, in every way that is possible."""
    for move in moves(stored.values.shape, stored.axes, each.shape, each.letters):
        yield rounded(stored, move)


def _is(held: Rounded, each: Candidate) -> bool:
    if outside(held.at(each.positions), each.sample, each.epsilon).any():
        return False
    return each.size == each.sample.size or not difference(held, each.read(), each.letters, each.epsilon).outside


def _parts(stored: StoredWeight, sized: dict[int, list[Candidate]]) -> Iterator[Origin]:
    """Yield the part of a constant that weights are: of grouped convolutions there is one file tensor per group."""
    size = stored.values.size
    for whole, candidates in sized.items():
        if whole <= size or whole % size:
            continue
        for each in candidates:
            for axis in _axes_of_parts(each):
                at = _part_of(stored, each, axis, whole // size)
                if at is not None:
                    yield Origin(each, at, whole // size)
                    return


def _axes_of_parts(each: Candidate) -> tuple[int, ...]:
    if each.letters:
        return (each.letters.index("O"),) if "O" in each.letters else ()
    return (len(each.shape) - 1, 0)[: len(each.shape)]


def _part_of(stored: StoredWeight, each: Candidate, axis: int, parts: int) -> int | None:
    if each.shape[axis] % parts:
        return None
    length = each.shape[axis] // parts
    kept = [at for at in range(len(each.shape)) if at != axis or length > 1]
    shape = tuple(length if at == axis else each.shape[at] for at in kept)
    letters = "".join(each.letters[at] for at in kept) if each.letters else ""
    held = [rounded(stored, move) for move in moves(stored.values.shape, stored.axes, shape, letters)]
    values = each.read() if held else None
    for at in range(parts if held else 0):
        part = np.asarray(values).take(range(at * length, (at + 1) * length), axis).reshape(shape)
        if not all(outside(way, part, each.epsilon).any() for way in held):
            return at
    return None


def _linked(bias: StoredWeight, candidates: list[Candidate], matching: Matching) -> bool:
    """Compare a bias with the one that belongs to its weights; return whether there is one for certain."""
    origin = matching.origins.get(str(bias.of))
    if origin is None or origin.candidate.constant.bias is None:
        return False
    wanted = next((each for each in candidates if each.constant.name == origin.candidate.constant.bias), None)
    same = sum(each.content == origin.candidate.content for each in candidates)
    if wanted is None or not wanted.constant.required or wanted.size != bias.values.size * origin.parts or same > 1:
        return False
    source = np.split(wanted.read().reshape(-1), origin.parts)[origin.part]
    held = rounded(bias, lambda array: array.reshape(-1))
    if outside(held, source, wanted.epsilon).any():
        missing = not bias.values.any()
        matching.altered.append(Altered(wanted, bias, None if missing else difference(held, source, "", wanted.epsilon)))
    matching.take(bias.name, Origin(wanted, origin.part, origin.parts))
    return True


def settle(matching: Matching, candidates: list[Candidate], fixed: frozenset[str]) -> None:
    """Move what is clearly an altered constant from what is left to what is altered.

    ``fixed`` are the contents of constants that files of this kind hold as the model does.
    """
    left, matching.left = matching.left, []
    for each in left:
        found = _altered(each, candidates, matching, fixed)
        if found is None:
            matching.left.append(each)
        else:
            matching.altered.append(found)
            matching.take(each.name, Origin(found.candidate))


def _altered(stored: StoredWeight, candidates: list[Candidate], matching: Matching, fixed: frozenset[str]) -> Altered | None:
    ways = [
        (_likeness(held, each), number, held)
        for number, each in enumerate(candidates)
        if each.size == stored.values.size
        for held in held_as(stored, each)
    ]
    # Of the most alike the first is taken; one that is in the file already only where nothing else is like it.
    ways = [way for way in ways if way[0][1] == way[0][1]]
    ways.sort(key=lambda way: (matching.is_found(candidates[way[1]]), -way[0][0] - way[0][1], way[1]))
    for (_, correlation), number, held in ways:
        each = candidates[number]
        is_fixed = each.constant.required or each.content in fixed
        source = each.read()
        found = difference(held, source, each.letters, each.epsilon)
        if found.mostly_equal and source.size >= LEAST_NUMBERS:
            return Altered(each, stored, found)
        if matching.is_found(each):
            continue
        if is_fixed and (correlation >= CORRELATES or _is_only_one(each, ways, candidates, matching)):
            return Altered(each, stored, found)
        may_merge = not is_fixed and each.constant.role == "weight" and source.size >= LEAST_NUMBERS
        if may_merge and correlation >= CORRELATES_SURELY and not is_merged(held, source, each.letters, each.constant.fold):
            return Altered(each, stored, found)
    return None


def _is_only_one(each: Candidate, ways: list[Any], candidates: list[Candidate], matching: Matching) -> bool:
    """Return whether a constant that must be in the file is the only one of its shape that was not found in it."""
    missing = {candidates[number].content for _, number, _ in ways if not matching.is_found(candidates[number])}
    return missing == {each.content}


def _likeness(held: Rounded, each: Candidate) -> tuple[float, float]:
    """Return the share of a constant's sample that weights equal, and their correlation."""
    sample = held.at(each.positions)
    equal = 1 - float(outside(sample, each.sample, each.epsilon).mean())
    return equal, _correlation(sample.values, each.sample)


def _correlation(values: Array, source: Array) -> float:
    one, other = values.astype(np.float64), source.astype(np.float64)
    scale = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return float((one * other).sum()) / scale if scale and values.size >= LEAST_NUMBERS else 0.0
