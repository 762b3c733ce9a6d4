# SPDX-License-Identifier: Apache-2.0
"""Finds the constant that each weight of a file comes from, and what is altered or missing."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgeferry.benchmarks.parity.judging.provenance.candidates import Candidate, by_size, part_of
from edgeferry.benchmarks.parity.judging.provenance.comparison import Difference, Rounded, difference, is_merged, outside, rounded
from edgeferry.benchmarks.parity.judging.provenance.layout import moves
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
    """Compare a bias with those that can belong to its weights; return whether it must be one of them."""
    origin = matching.origins.get(str(bias.of))
    if origin is None or not origin.candidate.constant.biases:
        return False
    named = {each.constant.name: each for each in candidates}
    wanted = [named[name] for name in origin.candidate.constant.biases]
    same = sum(each.content == origin.candidate.content for each in candidates)
    if same > 1 or any(each.size != bias.values.size * origin.parts for each in wanted):
        return False
    held, differences = rounded(bias, lambda array: array.reshape(-1)), []
    for each in wanted:
        source = np.split(each.read().reshape(-1), origin.parts)[origin.part]
        differences.append(difference(held, source, "", each.epsilon))
    best = min(range(len(wanted)), key=lambda at: (differences[at].outside, differences[at].share))
    if differences[best].outside:
        matching.altered.append(Altered(wanted[best], bias, differences[best] if bias.values.any() else None))
    matching.take(bias.name, Origin(wanted[best], origin.part, origin.parts))
    return True


def settle(matching: Matching, candidates: list[Candidate], fixed: frozenset[str]) -> None:
    """Move what is clearly an altered constant from what is left to what is altered.

    ``fixed`` are the contents of constants that files of this kind hold as the model does.
    """
    left, matching.left = matching.left, []
    for each in left:
        found = _altered(each, _ways(each, candidates, matching), matching, fixed)
        if found is None:
            matching.left.append(each)
        else:
            matching.altered.append(found[0])
            matching.take(each.name, found[1])


@dataclass(frozen=True)
class _Way:
    """Weights as they could come from a constant: how alike they are."""

    origin: Origin
    candidate: Candidate
    held: Rounded
    correlation: float
    is_found: bool


def _ways(stored: StoredWeight, candidates: list[Candidate], matching: Matching) -> list[_Way]:
    """Return the constants, or parts of them, of the weights' shape: what is not in the file first, then the most alike."""
    origins = [(Origin(each), each) for each in candidates if each.size == stored.values.size]
    for each in candidates:
        parts = each.size // stored.values.size
        if parts > 1 and each.size % stored.values.size == 0 and not matching.is_found(each):
            missing = [at for at in range(parts) if at not in matching.found.get(each.content, ())]
            origins += [
                (Origin(each, at, parts), part)
                for axis in _axes_of_parts(each)
                for at, part in _split(each, axis, missing, parts)
            ]
    ways = []
    for origin, each in origins:
        is_found = origin.parts == 1 and matching.is_found(each)
        ways += [
            _Way(origin, each, held, _correlation(held.at(each.positions).values, each.sample), is_found)
            for held in held_as(stored, each)
        ]
    return sorted(ways, key=lambda way: (way.is_found, -way.correlation))


def _split(each: Candidate, axis: int, missing: list[int], parts: int) -> Iterator[tuple[int, Candidate]]:
    if each.shape[axis] % parts:
        return
    length = each.shape[axis] // parts
    values = each.read()
    for at in missing:
        part = np.ascontiguousarray(values.take(range(at * length, (at + 1) * length), axis))
        yield at, part_of(each, part)


def _altered(stored: StoredWeight, ways: list[_Way], matching: Matching, fixed: frozenset[str]) -> tuple[Altered, Origin] | None:
    missing = {way.origin.candidate.content for way in ways if not way.is_found}
    for way in ways:
        each, constant, content = way.candidate, way.candidate.constant, way.origin.candidate.content
        source = each.read()
        found = difference(way.held, source, each.letters, each.epsilon)
        # Where one part of a constant is in the file, the others are too.
        is_fixed = constant.required or content in fixed or (way.origin.parts > 1 and bool(matching.found.get(content)))
        alike = found.mostly_equal and source.size >= LEAST_NUMBERS
        if not way.is_found and is_fixed:
            alike |= way.correlation >= CORRELATES or missing == {content}
        elif not way.is_found and constant.role == "weight" and way.correlation >= CORRELATES_SURELY:
            alike |= not is_merged(way.held, source, each.letters, constant.fold)
        if alike:
            return Altered(each, stored, found), way.origin
    return None


def _correlation(values: Array, source: Array) -> float:
    one, other = values.astype(np.float64), source.astype(np.float64)
    scale = float(np.sqrt(np.square(one).sum() * np.square(other).sum()))
    return float((one * other).sum()) / scale if scale and values.size >= LEAST_NUMBERS else 0.0
