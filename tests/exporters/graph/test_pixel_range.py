# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from edgeferry.exporters.graph.pixel_range import black_and_white, pixel_range, scaled_inputs
from edgeferry.models.preprocessing import Preprocessing, normalise


def how(mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocessing:
    return Preprocessing(8, 8, "rgb" if len(mean) > 1 else "gray", mean, std)


def input_range(preprocessing: Preprocessing) -> tuple[float, float]:
    ends = normalise(black_and_white((8, 8, len(preprocessing.mean))), preprocessing)
    return pixel_range(float(ends.min()), float(ends.max()))


def steps_off(preprocessing: Preprocessing) -> np.ndarray:
    """Return how many 8-bit steps each of the 256 pixel values is from the integer that holds it."""
    low, high = input_range(preprocessing)
    scale = (high - low) / 255
    zero = round(-low / scale)
    pixels = np.arange(256, dtype=np.uint8)[:, None, None].repeat(len(preprocessing.mean), 2)
    exact = normalise(pixels, preprocessing).astype(np.float64) / scale + zero
    assert exact.min() >= -0.51
    assert exact.max() <= 255.51
    return np.abs(exact - np.rint(exact))


def test_pixels_that_integers_hold_exactly_are_held_exactly() -> None:
    assert steps_off(how((0.0,), (1.0,))).max() == pytest.approx(0, abs=1e-4)
    assert steps_off(how((0.0,), (255.0,))).max() == pytest.approx(0, abs=1e-4)
    assert steps_off(how((128.0,), (128.0,))).max() == pytest.approx(0, abs=1e-4)


def test_pixels_from_minus_one_to_one_are_not_all_on_a_half() -> None:
    off = steps_off(how((127.5,) * 3, (127.5,) * 3))
    assert off.mean() == pytest.approx(0.25, abs=0.01)
    assert off[[0, 255]].max() == pytest.approx(0, abs=1e-4)


def test_the_range_is_that_of_every_channel_and_contains_zero() -> None:
    low, high = input_range(how((120.0, 110.0, 100.0), (60.0, 50.0, 70.0)))
    assert (low, high) == (pytest.approx(-110 / 50), pytest.approx(145 / 50))
    assert input_range(how((-255.0,), (255.0,))) == (0.0, 2.0)


def test_an_input_that_is_scaled_and_shifted_is_still_one_of_pixels() -> None:
    operations = [("mul", ["image", "2/255"]), ("add", ["mul", "-1"]), ("square", ["add", "add"]), ("sum", ["add", "other"])]
    assert scaled_inputs(["image"], operations, frozenset({"2/255", "-1"})) == {"image", "mul", "add"}
