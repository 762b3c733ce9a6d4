# SPDX-License-Identifier: Apache-2.0
"""``tf.image.resize`` without antialias: values as TensorFlow 2.21 returns them, and computed where it is installed."""

import tracemalloc
from typing import Any, Final

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from edgeferry.models import tf_resize
from edgeferry.models.preprocessing import Preprocessing, pixels_of
from edgeferry.models.tf_resize import METHODS, fitted

# A fine texture, 10 x 12, of which averages show nothing.
TEXTURE: Final = ((np.arange(12)[:, None] * 91 + np.arange(10) * 57) % 256).astype(np.uint8)
# What TensorFlow 2.21 makes of it for a height of 4 and a width of 3, and OpenCV 4.14 by INTER_LINEAR.
TENSORFLOW: Final = {
    "tf-nearest": [[148, 120, 35], [165, 137, 52], [182, 154, 69], [199, 171, 86]],
    "tf-bilinear": [[158, 92, 68], [174, 108, 85], [192, 126, 59], [166, 142, 76]],
    "tf-bicubic": [[160, 92, 56], [177, 108, 73], [194, 126, 57], [178, 142, 74]],
}
OPENCV: Final = [[157, 92, 68], [174, 109, 85], [191, 126, 60], [166, 143, 77]]
SIZES: Final = [(240, 240), (37, 53), (301, 17), (1, 1), (2, 3), (640, 480), (9, 240), (64, 64)]
NEW_SIZES: Final = [(64, 64), (20, 24), (50, 7), (299, 96), (1, 1)]


def resized(pixels: NDArray[np.uint8], size: tuple[int, int], resize: str, fit: str = "stretch") -> NDArray[np.uint8]:
    """Return an image resized to (width, height), as the config's keys say; gray without its channel axis."""
    colour = "gray" if pixels.ndim == 2 else "rgb"
    channels = 1 if colour == "gray" else 3
    how = Preprocessing(size[1], size[0], colour, (0.0,) * channels, (1.0,) * channels, resize, fit)
    made = pixels_of(Image.fromarray(pixels), how)
    return made[..., 0] if colour == "gray" else made


def noise(size: tuple[int, int], channels: int = 3) -> NDArray[np.uint8]:
    return np.random.default_rng(size).integers(0, 256, (size[1], size[0], channels), dtype=np.uint8)


@pytest.mark.parametrize("method", METHODS)
def test_a_texture_becomes_what_tensorflow_makes_of_it(method: str) -> None:
    assert resized(TEXTURE, (3, 4), method).tolist() == TENSORFLOW[method]


@pytest.mark.parametrize("method", ["tf-bilinear", "tf-bicubic"])
def test_pillows_filter_of_that_name_makes_something_else_of_a_texture(method: str) -> None:
    by_pillow = resized(TEXTURE, (3, 4), method.removeprefix("tf-")).astype(int)
    assert abs(by_pillow - np.array(TENSORFLOW[method])).max() > 50


def test_bilinear_is_opencvs_but_for_the_rounding_of_its_weights() -> None:
    assert abs(resized(TEXTURE, (3, 4), "tf-bilinear").astype(int) - np.array(OPENCV)).max() <= 1


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_every_value_is_tensorflows_rounded(method: str, size: tuple[int, int]) -> None:
    tf: Any = pytest.importorskip("tensorflow")
    pixels = noise(size).astype(np.float32)
    for width, height in NEW_SIZES:
        exact = tf.image.resize(pixels, (height, width), method=method.removeprefix("tf-"), antialias=False).numpy().clip(0, 255)
        made = resized(noise(size), (width, height), method)
        assert np.array_equal(made, tf.round(exact).numpy())
        assert abs(made - exact).max() <= 0.5


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_crop_is_that_of_keras_and_pad_that_of_tensorflow(method: str, size: tuple[int, int]) -> None:
    tf, keras = pytest.importorskip("tensorflow"), pytest.importorskip("keras")
    pixels, name = tf.constant(noise(size).astype(np.float32)), method.removeprefix("tf-")
    for width, height in NEW_SIZES:
        cropped = keras.preprocessing.image.smart_resize(pixels, (height, width), name).numpy()
        assert np.array_equal(resized(noise(size), (width, height), method, "crop"), cropped.clip(0, 255).round())
    padded = tf.image.resize_with_pad(pixels, 240, 320, name).numpy()
    assert np.array_equal(resized(noise(size), (320, 240), method, "pad"), padded.clip(0, 255).round())


@pytest.mark.parametrize("method", METHODS)
def test_an_image_that_has_no_height_once_it_fits_is_black(method: str) -> None:
    assert not resized(noise((301, 2)), (20, 10), method, "pad").any()


@pytest.mark.parametrize("method", METHODS)
def test_what_is_done_at_a_time_changes_no_value(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = resized(noise((57, 83)), (20, 30), method)
    monkeypatch.setattr(tf_resize, "PIXELS_AT_A_TIME", 1)
    assert np.array_equal(resized(noise((57, 83)), (20, 30), method), whole)


@pytest.mark.parametrize("method", METHODS)
def test_a_large_image_takes_little_memory_of_its_own(method: str) -> None:
    picture = Image.new("RGB", (4000, 3000))
    tracemalloc.start()
    try:
        fitted(picture, (224, 224), method, "stretch")
        assert tracemalloc.get_traced_memory()[1] < picture.width * picture.height
    finally:
        tracemalloc.stop()
