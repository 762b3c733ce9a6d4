# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from collections.abc import Sequence

import pytest

from edgeferry.benchmarks.fleet.plan import FleetJob
from edgeferry.benchmarks.fleet.shares import LEAST_IMAGES, Work, shared_out


def work(model: int, images: int, weight: float = 1.0, group: str = "") -> Work:
    return Work(model, FleetJob(str(model), "tflite-int8", "litert", 0, images, images, 1), weight, not group, group)


def loads(parts: Sequence[Work]) -> Counter[int]:
    found: Counter[int] = Counter()
    for each in parts:
        found[each.job.shard] += int(each.weight * (each.job.last - each.job.first))
    return found


@pytest.mark.parametrize("shards", [1, 7, 40, 1000])
def test_every_image_is_in_exactly_one_part(shards: int) -> None:
    parts = shared_out([work(0, 5000), work(1, 480), work(2, 20), work(3, 700, 9.0, "gpu"), work(4, 700, 9.0, "gpu")], shards)
    for model, images in enumerate((5000, 480, 20, 700, 700)):
        ends = sorted((each.job.first, each.job.last) for each in parts if each.model == model)
        assert [at for at, _ in ends] == [0, *(end for _, end in ends[:-1])]
        assert ends[-1][1] == images


def test_all_shards_have_about_as_much_to_do() -> None:
    found = loads(shared_out([work(0, 100_000), work(1, 3_000, 5.0), work(2, 9_000, 1.0, "gpu")], 40))
    # The group alone is more than a fair share; the others have the same.
    assert found.most_common(1)[0][1] == 9_000
    assert sorted(found.values())[-2] <= 1.1 * (100_000 + 15_000) / 39
    assert len(found) == 40


def test_work_of_one_group_is_done_by_one_shard() -> None:
    parts = shared_out([work(0, 500, 1.0, "board"), work(1, 500, 1.0, "board"), work(2, 500)], 3)
    assert len({each.job.shard for each in parts if each.group == "board"}) == 1


def test_no_part_is_smaller_than_is_worth_a_process() -> None:
    parts = shared_out([work(0, 480), work(1, 480)], 100)
    assert min(each.job.last - each.job.first for each in parts) >= LEAST_IMAGES
