# SPDX-License-Identifier: Apache-2.0
import numpy as np

from edgeferry.exporters.graph.simulation.rounding import scales_of, to_float16, to_palette, to_range, to_steps

WEIGHTS = np.random.default_rng(0).normal(size=(3, 3, 8, 16)).astype(np.float32)


def test_symmetric_steps_are_as_fine_as_the_largest_weight_of_their_channel() -> None:
    scales = scales_of(WEIGHTS, (3,))
    rounded = to_steps(WEIGHTS, scales)
    assert np.array_equal(scales.ravel(), (np.abs(WEIGHTS).max(axis=(0, 1, 2)).astype(np.float64) / 127).astype(np.float32))
    assert (np.abs(rounded - WEIGHTS) <= scales / 2 + 1e-6).all()
    assert np.allclose(np.abs(rounded / scales).max(axis=(0, 1, 2)), 127)


def test_a_channel_of_zeros_stays_zero() -> None:
    weights = WEIGHTS * (np.arange(16) > 0)
    assert not to_steps(weights, scales_of(weights, (3,)))[..., 0].any()


def test_a_range_has_as_many_steps_as_its_bits_and_zero_is_one() -> None:
    rounded = to_range(WEIGHTS, 4)
    assert len(np.unique(rounded)) == 16
    assert 0 in rounded
    assert np.abs(rounded - WEIGHTS).max() <= np.ptp(WEIGHTS) / 15


def test_a_range_above_zero_is_used_whole_unless_zero_is_wanted() -> None:
    values = np.linspace(10, 11, 256, dtype=np.float32)
    assert np.allclose(to_range(values, 8), values, atol=1e-5)
    assert np.abs(to_range(values, 8, with_zero=True) - values).max() > 0.01


def test_a_single_value_is_kept() -> None:
    assert (to_range(np.full(3, 0.3, np.float32), 8) == np.float32(0.3)).all()


def test_a_palette_has_few_values_and_is_closer_than_equal_steps() -> None:
    found = to_palette(WEIGHTS, 4)
    assert len(np.unique(found)) == 16
    assert np.array_equal(found, to_float16(found))
    assert np.square(found - WEIGHTS).mean() < np.square(to_range(WEIGHTS, 4) - WEIGHTS).mean()


def test_a_palette_with_room_for_every_value_changes_none() -> None:
    values = to_float16(np.asarray([[0.1, -2, 3, 0.1]], np.float32))
    assert np.array_equal(to_palette(values, 4), values)


def test_weights_whose_scale_float16_cannot_hold_are_zero() -> None:
    weights = np.full((1, 1, 1, 2), 1e-9, np.float32)
    assert not to_steps(weights, to_float16(scales_of(weights, (3,)))).any()
