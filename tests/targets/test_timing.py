# SPDX-License-Identifier: Apache-2.0
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeferry.models.preprocessing import Preprocessing, normalise
from edgeferry.targets.target import Job
from edgeferry.targets.timing import NormalisedImages, predict_and_time, warm_up


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path, tmp_path, tmp_path, warmup=2, rounds=4)


def test_every_image_is_predicted_in_order(job: Job) -> None:
    assert predict_and_time(lambda image: lambda: image * 10, [1, 2, 3], job).outputs == [10, 20, 30]


def test_the_first_call_the_images_the_warm_up_and_the_rounds_are_all_calls(job: Job) -> None:
    calls: list[int] = []

    def ready(image: int) -> Callable[[], None]:
        return lambda: calls.append(image)

    measured = predict_and_time(ready, [1, 2, 3], job)
    assert calls == [1, 1, 2, 3, *[1] * 2, *[1] * 4]
    assert len(measured.latencies_ms) == 4


def test_settling_calls_until_the_seconds_have_passed_and_then_times(job: Job) -> None:
    times: list[float] = []
    measured = predict_and_time(lambda image: lambda: times.append(time.perf_counter()), [1], replace(job, settle_s=0.1))
    # The first call, the image and the warm-up come before, the rounds after.
    assert times[-len(measured.latencies_ms)] - times[1 + 1 + job.warmup] >= 0.1


def test_warm_up_goes_on_while_calls_become_faster() -> None:
    falling = iter(range(60, 0, -1))
    lengths: list[int] = []

    def call() -> None:
        lengths.append(next(falling, 1))
        time.sleep(lengths[-1] / 20_000)

    assert warm_up(call) == pytest.approx(1 / 20_000, abs=1e-3)
    assert len(lengths) > 60


def test_images_are_normalised_one_by_one_as_all_at_once() -> None:
    how = Preprocessing(3, 2, "rgb", (120.0, 110.0, 100.0), (60.0, 50.0, 40.0))
    pixels = np.random.default_rng(1).integers(0, 256, (5, 3, 2, 3), np.uint8)
    images = NormalisedImages(pixels, how)
    assert [image.shape for image in images] == [(1, 3, 2, 3)] * 5
    assert np.array_equal(np.concatenate(list(images)), normalise(pixels, how))
    assert np.array_equal(images[3:][0], images[3])
    with pytest.raises(IndexError):
        images[5]
