# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path

import pytest

from targets.target import Job
from targets.timing import answer_and_time


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path, tmp_path, tmp_path, warmup=2, rounds=4)


def test_every_image_is_answered_in_its_order(job: Job) -> None:
    assert answer_and_time(lambda image: lambda: image * 10, [1, 2, 3], job).answers == [10, 20, 30]


def test_the_first_call_the_images_the_warm_up_and_the_rounds_are_all_calls(job: Job) -> None:
    calls: list[int] = []

    def ready(image: int) -> Callable[[], None]:
        return lambda: calls.append(image)

    measured = answer_and_time(ready, [1, 2, 3], job)
    assert calls == [1, 1, 2, 3, *[1] * 2, *[1] * 4]
    assert len(measured.latencies_ms) == 4
