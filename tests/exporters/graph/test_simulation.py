# SPDX-License-Identifier: Apache-2.0
"""A graph of one convolution, small enough to be computed by hand in integers."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import tensorflow as tf

from edgeferry.exporters.format import formats, precision_of
from edgeferry.exporters.graph.pixel_range import pixel_range
from edgeferry.exporters.graph.rebuild import Changes, rebuild, run
from edgeferry.exporters.graph.simulation.simulation import PALETTES, SIMULATIONS, simulate
from edgeferry.exporters.graph.source import Source
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import softmax
from edgeferry.models.preprocessing import Preprocessing, normalise
from edgeferry.models.reference import CALIBRATION, Reference
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.yardstick import PRECISIONS

HOW: Final = Preprocessing(4, 4, "rgb", (127.5,) * 3, (127.5,) * 3)
DRAW: Final = np.random.default_rng(4)
WEIGHTS: Final = DRAW.normal(size=(3, 512)).astype(np.float32)
BIAS: Final = DRAW.normal(size=512).astype(np.float32)
DENSE: Final = (DRAW.normal(size=(512, 5)) / 40).astype(np.float32)
PIXELS: Final = DRAW.integers(0, 256, (40, 4, 4, 3)).astype(np.uint8)


@pytest.fixture
def source(tmp_path: Path) -> Source:
    """Return a classifier of a 1 x 1 convolution with bias and ReLU, a mean over the image, and a Dense layer to logits."""
    with tf.Graph().as_default() as graph:
        image = tf.compat.v1.placeholder(tf.float32, (None, 4, 4, 3), name="image")
        found = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(image, WEIGHTS[None, None], 1, "VALID"), BIAS))
        tf.identity(tf.matmul(tf.reduce_mean(found, (1, 2)), DENSE, name="dense"), name="logits")
    np.save(tmp_path / CALIBRATION, PIXELS[:30])
    labels = tuple("abcde")
    reference = Reference("", "", "logits", labels, HOW, len(PIXELS), 1.0, None, "", {}, (), {})
    spec = ModelSpec("one", tmp_path / "one.toml", tmp_path, labels, HOW, tmp_path)
    return Source(spec, reference, tmp_path, graph.as_graph_def(), (), folding="nothing to fold")


def _exact(weights: Any = WEIGHTS, bias: Any = BIAS, dense: Any = DENSE) -> Any:
    found = np.maximum(normalise(PIXELS, HOW) @ weights + bias, 0).mean(axis=(1, 2)) @ dense
    return softmax(found)


def _grid(values: Any, of: Any) -> tuple[Any, float, int]:
    """Return values as asymmetric 8-bit integers of the range of others, with scale and zero point."""
    low, high = min(float(of.min()), 0), max(float(of.max()), 0)
    scale = (high - low) / 255
    # Halves are rounded away from zero, in int8.
    zero = 128 + int(np.trunc(-128 - low / scale - 0.5))
    return np.clip(np.rint(values / scale) + zero, 0, 255).astype(np.int64), scale, zero


def test_full_integer_inference_equals_integers_computed_by_hand(source: Source) -> None:
    images = normalise(PIXELS, HOW)
    calibration = images[:30]
    kept = np.maximum(calibration @ WEIGHTS + BIAS, 0)
    image, image_scale, image_zero = _grid(images, np.array(pixel_range(-1, 1)))
    scales = np.abs(WEIGHTS).max(axis=0) / 127
    sums = (image - image_zero) @ np.rint(WEIGHTS / scales).astype(np.int64) + np.rint(BIAS / (image_scale * scales))
    found, scale, zero = _grid(np.maximum(sums * (image_scale * scales), 0), kept)
    means, mean_scale, mean_zero = _grid(((found - zero) * scale).mean(axis=(1, 2)), kept.mean(axis=(1, 2)))
    dense_scale = np.abs(DENSE).max() / 127
    logits = (means - mean_zero) @ np.rint(DENSE / dense_scale).astype(np.int64) * (mean_scale * dense_scale)
    last, last_scale, last_zero = _grid(logits, kept.mean(axis=(1, 2)) @ DENSE)
    # A sum that is halfway between two integers may be rounded to either.
    assert (
        np.abs(np.log(simulate(source, "int8", PIXELS)) - np.log(softmax((last - last_zero) * last_scale))).max() < 2 * last_scale
    )
    assert np.abs(simulate(source, "int8", PIXELS) - softmax((last - last_zero) * last_scale)).mean() < last_scale / 50


def test_ranges_come_from_the_calibration_images(source: Source) -> None:
    wide = simulate(source, "int8", PIXELS)
    np.save(source.folder / CALIBRATION, np.full((4, 4, 4, 3), 127, np.uint8))
    fresh = Source(**{name: getattr(source, name) for name in source.__dataclass_fields__})
    narrow = simulate(fresh, "int8", PIXELS)
    assert np.abs(narrow - _exact()).max() > 5 * np.abs(wide - _exact()).max()


def test_without_calibration_images_there_is_no_full_integer_simulation(source: Source) -> None:
    (source.folder / CALIBRATION).unlink()
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-calibration-missing"):
        simulate(source, "int8", PIXELS)


def test_weights_alone_are_rounded_where_a_runtime_computes_in_float32(source: Source) -> None:
    halves = [each.astype(np.float16).astype(np.float32) for each in (WEIGHTS, BIAS, DENSE)]
    assert np.abs(simulate(source, "float16-weights", PIXELS) - _exact(*halves)).max() < 1e-6


def test_a_precision_changes_as_much_as_its_steps_are_coarse(source: Source) -> None:
    changes = {name: float(np.abs(simulate(source, name, PIXELS) - _exact()).mean()) for name in PRECISIONS}
    order = ("float32", "uint16-weights", "float16", "int8-weights", "int8", "palettized-4")
    assert list(order) == sorted(order, key=changes.__getitem__), changes
    assert changes["palettized-6"] < changes["palettized-4"]
    assert changes["int8-dense-per-channel"] != changes["int8"]


def test_dynamic_quantization_takes_the_range_of_each_image(source: Source) -> None:
    alone = np.concatenate([simulate(source, "dynamic", PIXELS[at : at + 1]) for at in range(5)])
    assert np.abs(simulate(source, "dynamic", PIXELS)[:5] - alone).max() < 1e-6
    assert np.abs(alone - _exact()[:5]).max() > 1e-5


def test_a_graph_rebuilt_without_changes_computes_the_same(source: Source) -> None:
    rebuilt = rebuild(source.graph_of(None), Changes())
    scores = np.concatenate(list(run(rebuilt, rebuilt.results["logits"], PIXELS, HOW)))
    assert np.abs(softmax(scores) - _exact()).max() < 1e-6


def test_every_precision_is_simulated_and_explained() -> None:
    assert {*SIMULATIONS, *PALETTES} == set(PRECISIONS)


@pytest.mark.parametrize("name", list(formats()))
def test_every_format_names_a_precision(name: str, source: Source) -> None:
    assert precision_of(formats()[name], source.spec) in PRECISIONS


def test_a_compiled_format_has_its_parents_precision(source: Source) -> None:
    from dataclasses import replace

    spec = replace(source.spec, format_options=(("tflite-int8", '{"dense": "convolution"}'),))
    assert precision_of(formats()["edgetpu-int8"], spec) == "int8-dense-per-channel"
    assert precision_of(formats()["edgetpu-int8"], source.spec) == "int8"
