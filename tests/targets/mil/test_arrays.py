# SPDX-License-Identifier: Apache-2.0
from typing import Final

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeferry.targets.mil.arrays import BLOCK, rounded_to_float16

EVERY: Final = np.arange(2**16, dtype=np.uint16).view(np.float16).astype(np.float32)
FINITE: Final = np.sort(EVERY[np.isfinite(EVERY)])
# Halfway between two numbers of float16, where a tie is decided, and next to that.
HALFWAY: Final = (FINITE[1:] + FINITE[:-1]) / 2
BORDERS: Final = [np.nextafter(np.float32(65520), np.float32(to)) for to in (0, np.inf)]
BITS: Final = np.random.default_rng(1).integers(0, 2**32, 2**20, dtype=np.uint32).view(np.float32)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(EVERY, id="numbers of float16"),
        pytest.param(HALFWAY, id="ties"),
        pytest.param(np.nextafter(HALFWAY, np.float32(np.inf)), id="above ties"),
        pytest.param(np.nextafter(HALFWAY, np.float32(-np.inf)), id="below ties"),
        pytest.param(np.array([*BORDERS, 65520, -65520, 1e30, np.inf, -0.0, 1e-45] * BLOCK, np.float32), id="ends of the range"),
        pytest.param(BITS, id="any bits"),
        pytest.param(HALFWAY[: 2 * BLOCK].reshape(2, -1).T, id="another order in memory"),
    ],
)
def test_rounding_by_bits_is_numpy_s_conversion(values: NDArray[np.float32]) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        expected, found = values.astype(np.float16).astype(np.float32), rounded_to_float16(values)
    assert values.size >= BLOCK
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(np.signbit(found), np.signbit(expected))
