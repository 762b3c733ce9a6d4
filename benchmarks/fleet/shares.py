# SPDX-License-Identifier: Apache-2.0
"""Who does what: the images of an artifact in parts, and the parts on shards, so that all shards have about as much to do."""

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Final

from edgeferry.benchmarks.fleet.plan import FleetJob

# A part has at least so many images: starting a process and loading a runtime takes a second or two.
LEAST_IMAGES: Final = 64


@dataclass(frozen=True)
class Work:
    """The jobs of an artifact on a target, before they are shared out.

    ``weight`` is how much one image costs, next to others; ``splits`` says whether some of the images may run alone. Work of one
    ``group`` is done by one shard, in its order: a board, a GPU, what a software-rendered GPU need not run twice.
    """

    model: int
    job: FleetJob
    weight: float
    splits: bool
    group: str


def shared_out(work: Sequence[Work], shards: int) -> list[Work]:
    """Return the work in parts, each with its shard: groups whole, the largest first, then the images of the others."""
    groups: dict[str, list[Work]] = {}
    for each in work:
        if not each.splits:
            groups.setdefault(each.group, []).append(each)
    loads = [(0.0, shard) for shard in range(shards)]
    placed = []
    for members in sorted(groups.values(), key=lambda members: -sum(map(_cost, members))):
        load, shard = heapq.heappop(loads)
        heapq.heappush(loads, (load + sum(map(_cost, members)), shard))
        placed += [replace(each, job=replace(each.job, shard=shard + 1)) for each in members]
    others = [each for each in work if each.splits]
    rooms = _rooms([load for load, _ in sorted(loads, key=itemgetter(1))], sum(map(_cost, others)))
    return [*placed, *_filled(others, rooms)]


def _cost(work: Work) -> float:
    return work.weight * (work.job.last - work.job.first)


def _rooms(loads: Sequence[float], cost: float) -> list[float]:
    """Return how much of a cost each shard should take on top of its load, so that all who take any have the same in the end."""
    ordered, level = sorted(loads), 0.0
    for count in range(1, len(ordered) + 1):
        level = (cost + sum(ordered[:count])) / count
        if count < len(ordered) and level <= ordered[count]:
            break
    return [max(0.0, level - load) for load in loads]


def _filled(work: Sequence[Work], rooms: Sequence[float]) -> Iterator[Work]:
    """Yield work in parts, one shard's room after another's; what is too little for a part is left to the next shard."""
    shard, room = 0, rooms[0]
    for each in work:
        first, images = 0, each.job.images
        while first < images:
            fit = round(room / each.weight)
            if shard == len(rooms) - 1 or images - first - fit < LEAST_IMAGES:
                fit = images - first
            # Less than a part is not worth starting a process for; a whole artifact is, however few its images are.
            if fit < LEAST_IMAGES and (first + fit < images or room <= 0) and shard < len(rooms) - 1:
                shard += 1
                room += rooms[shard]
                continue
            yield replace(each, job=replace(each.job, first=first, last=first + fit, shard=shard + 1))
            first, room = first + fit, room - fit * each.weight
