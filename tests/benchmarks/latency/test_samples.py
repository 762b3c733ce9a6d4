# SPDX-License-Identifier: Apache-2.0
"""No percentile without enough samples."""

import pytest

from edgeferry.benchmarks.latency.samples import percentile_text, samples_needed


@pytest.mark.parametrize(("percentile", "count"), [(50, 11), (90, 64), (95, 130), (97, 219), (99, 662)])
def test_the_samples_a_percentile_needs_are_loadgens(percentile: float, count: int) -> None:
    assert samples_needed(percentile) == count


@pytest.mark.parametrize("percentile", [0, 100, -1, 200])
def test_a_percentile_out_of_range_is_refused(percentile: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 100"):
        samples_needed(percentile)


def test_too_few_samples_are_reported_as_too_few() -> None:
    assert percentile_text([1.0] * 50, 99) == "needs 662 samples, has 50"
    assert percentile_text([1.0] * 63, 90) == "needs 64 samples, has 63"


def test_enough_samples_make_a_percentile() -> None:
    assert percentile_text([float(value) for value in range(1, 102)], 90) == "91.0 ms"
