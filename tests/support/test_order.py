# SPDX-License-Identifier: Apache-2.0
from itertools import chain
from typing import Final

import pytest
from order import dealt

GROUPS: Final = {"digits": 1, "early": 0, "colours": 2, "others": 4, "both": 3}
MODULES: Final = [
    *([name] * count for name, count in zip(GROUPS, (4, 1, 3, 2, 2), strict=True)),
    *(["fast"] * 6 for _ in range(3)),
]


def _parts(workers: int) -> list[list[str]]:
    tests = dealt(MODULES, workers, lambda module: GROUPS.get(module[0]))
    size = -(-len(tests) // workers)
    return [tests[at : at + size] for at in range(0, len(tests), size)]


@pytest.mark.parametrize("workers", [1, 2, 3, 4])
def test_every_test_is_in_it_once(workers: int) -> None:
    assert sorted(chain(*_parts(workers))) == sorted(chain(*MODULES))


def test_each_worker_begins_with_another_group_and_ends_with_fast_tests() -> None:
    parts = _parts(3)
    assert [part[0] for part in parts] == ["early", "digits", "colours"]
    assert {part[-1] for part in parts} == {"fast"}


def test_groups_go_to_the_workers_in_turn() -> None:
    assert [list(dict.fromkeys(part)) for part in _parts(3)] == [
        ["early", "both", "fast"],
        ["digits", "others", "fast"],
        ["colours", "fast"],
    ]
