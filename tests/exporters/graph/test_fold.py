# SPDX-License-Identifier: Apache-2.0
from collections import Counter
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from edgeferry.exporters.graph.fold import fold_batchnorm, fold_constants
from edgeferry.exporters.graph.source import function_of

pytestmark = pytest.mark.slow

SHAPE = (9, 7, 4)


def _conv(x: Any) -> Any:
    return layers.BatchNormalization()(layers.Conv2D(6, 3, use_bias=False)(x))


def _conv_with_bias(x: Any) -> Any:
    return layers.BatchNormalization()(layers.Conv2D(6, 3, padding="same")(x))


def _along_a_stated_axis(x: Any) -> Any:
    return layers.BatchNormalization(axis=3)(layers.Conv2D(6, 3)(x))


def _depthwise_multiplied(x: Any) -> Any:
    return layers.BatchNormalization()(layers.DepthwiseConv2D(3, depth_multiplier=3)(x))


def _separable(x: Any) -> Any:
    return layers.ReLU(6.0)(layers.BatchNormalization()(layers.SeparableConv2D(5, 3)(x)))


def _dense(x: Any) -> Any:
    return layers.BatchNormalization()(layers.Dense(5)(layers.Flatten()(x)))


def _no_scale_no_centre(x: Any) -> Any:
    return layers.BatchNormalization(scale=False, center=False)(layers.Conv2D(6, 1, use_bias=False)(x))


def _dilated(x: Any) -> Any:
    return layers.BatchNormalization()(layers.Conv2D(6, 3, dilation_rate=2, use_bias=False)(x))


def _nested(x: Any) -> Any:
    inside = keras.Input((9, 7, 4))
    return keras.Model(inside, _conv(inside))(x)


def _shared(x: Any) -> Any:
    convolution, normalisation = layers.Conv2D(4, 3, padding="same", use_bias=False), layers.BatchNormalization()
    return normalisation(convolution(normalisation(convolution(x))))


def _two_readers(x: Any) -> Any:
    y = layers.Conv2D(4, 3, padding="same")(x)
    return layers.Add()([layers.BatchNormalization()(y), y])


def _before_convolution(x: Any) -> Any:
    return layers.Conv2D(4, 3)(layers.ReLU()(layers.BatchNormalization()(x)))


FOLDED: dict[Callable[[Any], Any], int] = {
    _conv: 1,
    _conv_with_bias: 1,
    _along_a_stated_axis: 1,
    _depthwise_multiplied: 1,
    _separable: 1,
    _dense: 1,
    _no_scale_no_centre: 1,
    _nested: 1,
    _shared: 2,
    _two_readers: 0,
    _before_convolution: 0,
}


def _frozen(build: Callable[[Any], Any]) -> tuple[keras.Model, Any]:
    keras.utils.set_random_seed(5)
    draw = np.random.default_rng(5)
    image = keras.Input(SHAPE, name="image")
    model = keras.Model(image, layers.Flatten()(build(image)))
    for weight in model.weights:
        low = 0.5 if "variance" in weight.path or "gamma" in weight.path else -1.0
        weight.assign(draw.uniform(low, 1.5, weight.shape).astype(np.float32))
    traced = tf.function(
        lambda image: model(image, training=False), input_signature=[tf.TensorSpec((None, *SHAPE), name="image")]
    )
    frozen = convert_variables_to_constants_v2(traced.get_concrete_function(), lower_control_flow=False, aggressive_inlining=True)
    graph = frozen.graph.as_graph_def()
    graph.node.add(name="scores", op="Identity", input=[frozen.outputs[0].name]).attr["T"].type = 1
    return model, fold_constants(graph, "scores")


def _run(graph: Any, images: Any) -> Any:
    return function_of(graph, "scores")(tf.constant(images))["scores"].numpy()


@pytest.mark.parametrize("build", FOLDED, ids=lambda build: build.__name__)
def test_the_folded_graph_predicts_like_keras(build: Callable[[Any], Any]) -> None:
    model, graph = _frozen(build)
    folded, count = fold_batchnorm(graph, "scores")
    images = np.random.default_rng(6).normal(size=(4, *SHAPE)).astype(np.float32)
    assert count == FOLDED[build]
    np.testing.assert_allclose(_run(folded, images), model(images, training=False).numpy(), rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize("build", [build for build, count in FOLDED.items() if count == 1], ids=lambda build: build.__name__)
def test_no_multiplication_is_left(build: Callable[[Any], Any]) -> None:
    operations = Counter(node.op for node in fold_batchnorm(_frozen(build)[1], "scores")[0].node)
    assert operations["Mul"] == 0
    assert operations["BiasAdd"] >= 1


def test_a_dilated_convolution_stays_right() -> None:
    model, graph = _frozen(_dilated)
    images = np.random.default_rng(6).normal(size=(2, *SHAPE)).astype(np.float32)
    folded = fold_batchnorm(graph, "scores")[0]
    np.testing.assert_allclose(_run(folded, images), model(images, training=False).numpy(), rtol=2e-5, atol=2e-5)


def test_constants_are_computed_and_the_unreachable_removed() -> None:
    operations = Counter(node.op for node in _frozen(_conv)[1].node)
    assert operations["Rsqrt"] == 0
    assert operations["NoOp"] == 0
    assert operations["Identity"] == 1
