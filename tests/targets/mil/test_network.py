# SPDX-License-Identifier: Apache-2.0
"""Whole networks, converted as usual, evaluated from disk and compared with Keras."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from edgeferry.targets.mil import program
from edgeferry.targets.mil.package import open_package
from edgeferry.targets.mil.program import read_program

SIDE: Final = 96
SMALL: Final = 32
CLASSES: Final = 10
IMAGES: Final = 12


def _convolutions(keras: Any) -> Any:
    """Return layers of every kind of convolution, activation, normalisation and resizing."""
    layers = keras.layers
    image = layers.Input((SMALL, SMALL, 3))
    x = layers.Conv2D(12, 3, 2, padding="same")(image)
    x = layers.PReLU(shared_axes=[1, 2])(layers.BatchNormalization()(x))
    x = layers.SeparableConv2D(16, 3, padding="same", depth_multiplier=2)(x)
    x = layers.Activation("gelu")(layers.GroupNormalization(4)(x))
    x = layers.LeakyReLU(0.1)(layers.Conv2D(16, 3, padding="same", dilation_rate=2)(x))
    x = layers.Activation("hard_silu")(layers.DepthwiseConv2D(3, padding="same", dilation_rate=2)(x))
    wide = layers.ELU()(layers.Conv2DTranspose(8, 3, 2, padding="same")(x))
    x = layers.Concatenate()([layers.UpSampling2D(2, interpolation="bilinear")(x), wide])
    x = layers.AveragePooling2D(3, 2, padding="same")(layers.UpSampling2D(2)(x))
    x = layers.MaxPooling2D(3, 2, padding="same")(layers.ZeroPadding2D(1)(x))
    for activation in ("selu", "mish", "softplus", "swish", "hard_sigmoid", "softsign", "tanh"):
        x = layers.Activation(activation)(layers.Conv2D(12, 1)(layers.LayerNormalization()(x)))
    return keras.Model(image, _head(keras, layers.GlobalMaxPooling2D()(layers.Cropping2D(((1, 0), (0, 1)))(x))))


def _residual(keras: Any) -> Any:
    """Return residual and dense blocks with a squeeze: batch normalisations that cannot be folded, ReLU6, a gate."""
    layers = keras.layers
    image = layers.Input((SMALL, SMALL, 3))
    x = layers.Conv2D(16, 3, 2, padding="same", use_bias=False)(image)
    y = layers.Conv2D(16, 3, padding="same")(layers.ReLU()(layers.BatchNormalization()(x)))
    gate = layers.Conv2D(16, 1, activation="sigmoid")(layers.GlobalAveragePooling2D(keepdims=True)(y))
    x = layers.Add()([x, layers.Multiply()([y, gate])])
    y = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, 2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(x)))
    x = layers.Concatenate()([layers.AveragePooling2D(2)(x), y])
    return keras.Model(image, _head(keras, layers.GlobalAveragePooling2D()(layers.ReLU()(layers.BatchNormalization()(x)))))


def _transformer(keras: Any) -> Any:
    """Return a vision transformer of two blocks."""
    layers = keras.layers
    image = layers.Input((SMALL, SMALL, 3))
    x = layers.Reshape((-1, 24))(layers.Conv2D(24, 8, 8)(image))
    for _ in range(2):
        y = layers.LayerNormalization(epsilon=1e-6)(x)
        x = layers.Add()([x, layers.MultiHeadAttention(3, 8)(y, y)])
        y = layers.Dense(48, activation="gelu")(layers.LayerNormalization(epsilon=1e-6)(x))
        x = layers.Add()([x, layers.Dense(24)(y)])
    return keras.Model(image, _head(keras, layers.GlobalAveragePooling1D()(x)))


def _recurrent(keras: Any) -> Any:
    """Return recurrent layers over rows, in both directions and in one, unrolled: coremltools supports no loop here."""
    layers = keras.layers
    image = layers.Input((SMALL, SMALL, 3))
    x = layers.Reshape((4, -1))(layers.Conv2D(8, 3, 8, padding="same", activation="relu")(image))
    x = layers.Bidirectional(layers.LSTM(10, return_sequences=True, unroll=True))(x)
    return keras.Model(image, _head(keras, layers.GRU(12, unroll=True)(x)))


def _head(keras: Any, x: Any) -> Any:
    return keras.layers.Dense(CLASSES, activation="softmax")(x)


NETWORKS: Final = {each.__name__.strip("_"): each for each in (_convolutions, _residual, _transformer, _recurrent)}


@pytest.mark.slow
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_small_network_in_float32_predicts_like_keras(kind: str, tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    keras.utils.set_random_seed(1)
    model = _discriminating(NETWORKS[kind](keras), keras, SMALL)
    scores, expected = _evaluated(model, SMALL, tmp_path), model(_scaled(SMALL), training=False).numpy()
    assert len(set(expected.argmax(axis=1))) > 2
    np.testing.assert_array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    assert abs(scores - expected).max() < 2e-4


@pytest.mark.slow
def test_a_mobilenet_in_float32_predicts_like_keras(tmp_path: Path) -> None:
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    keras.utils.set_random_seed(1)
    network = keras.applications.MobileNetV2((SIDE, SIDE, 3), alpha=0.35, weights=None, classes=CLASSES)
    model = _discriminating(network, keras, SIDE)
    scores, expected = _evaluated(model, SIDE, tmp_path), model(_scaled(SIDE), training=False).numpy()
    assert len(set(expected.argmax(axis=1))) > 2
    np.testing.assert_array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    assert abs(scores - expected).max() < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["FLOAT32", "FLOAT16"])
def test_fused_operations_have_the_same_results_to_the_bit(precision: str, tmp_path: Path, monkeypatch: Any) -> None:
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    keras.utils.set_random_seed(1)
    _converted(_discriminating(_padded(keras), keras, SMALL), SMALL, tmp_path / "model.mlpackage", precision)
    package = open_package(tmp_path / "model.mlpackage")
    fused = read_program(package, rounds_to_float16=True)
    monkeypatch.setattr(program, "fused", lambda steps, kept: tuple(steps))
    unfused = read_program(package, rounds_to_float16=True)
    assert [step.operation for step in unfused.steps].count("pad") == 3
    assert [step.operation for step in fused.steps].count("pad") == 1  # the one that is read twice
    planes = _pixels(SMALL).transpose(0, 3, 1, 2)
    for at in range(IMAGES):
        image = {"image": planes[at : at + 1]}
        assert fused.evaluated(image) == unfused.evaluated(image)


def _padded(keras: Any) -> Any:
    """Return convolutions of several strides after zero padding that one or two layers read, with activations after them."""
    layers = keras.layers
    image = layers.Input((SMALL, SMALL, 3))
    x = layers.ReLU(6.0)(layers.Conv2D(16, 3, 2)(layers.ZeroPadding2D(((0, 1), (0, 1)))(image)))
    x = layers.ReLU(6.0)(layers.DepthwiseConv2D(3, 1, padding="same")(x))
    x = layers.ReLU()(layers.DepthwiseConv2D(5, 2)(layers.ZeroPadding2D(((2, 1), (1, 2)))(x)))
    x = layers.ZeroPadding2D(1)(x)
    y = layers.Conv2D(24, 3)(x)
    x = layers.Concatenate()([layers.ReLU()(layers.Conv2D(8, 3, padding="valid")(x)), layers.ReLU(6.0)(y), y])
    return keras.Model(image, _head(keras, layers.GlobalAveragePooling2D()(x)))


def _discriminating(model: Any, keras: Any, side: int) -> Any:
    """Return the network with perturbed batch statistics and a head that separates random pictures."""
    rng, pictures = np.random.default_rng(0), _scaled(side)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.5
            layer.gamma.assign(rng.uniform(0.8, 1.2, layer.gamma.shape))
            layer.beta.assign(rng.uniform(-0.2, 0.2, layer.beta.shape))
    for _ in range(6):
        model(pictures, training=True)
    head = model.layers[-1]
    features = keras.Model(model.input, head.input)(pictures, training=False).numpy()
    kernel = rng.normal(size=head.kernel.shape).astype(np.float32)
    kernel *= 3 / ((features - features.mean(axis=0)) @ kernel).std(axis=0)
    head.set_weights([kernel, -(features.mean(axis=0) @ kernel)])
    return model


def _evaluated(model: Any, side: int, folder: Path) -> Any:
    """Return the evaluator's scores of the network, converted to float32 and saved: [images, classes]."""
    _converted(model, side, folder / "model.mlpackage")
    package = open_package(folder / "model.mlpackage")
    read = read_program(package, rounds_to_float16=False)
    planes = _pixels(side).transpose(0, 3, 1, 2)
    predictions = [read.evaluated({"image": planes[at : at + 1]})[package.probabilities] for at in range(IMAGES)]
    return np.array([[prediction[str(label)] for label in range(CLASSES)] for prediction in predictions])


def _converted(model: Any, side: int, path: Path, precision: str = "FLOAT32") -> None:
    import coremltools as ct
    import tensorflow as tf
    from coremltools.converters.mil import Builder as mb  # noqa: N813 - its usual name
    from coremltools.converters.mil.frontend.tensorflow.tf_op_registry import register_tf_op
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    @register_tf_op(override=True)
    def Erfc(context: Any, node: Any) -> None:  # noqa: N802 - TensorFlow's name, which coremltools lacks
        context.add(node.name, mb.sub(x=1.0, y=mb.erf(x=context[node.inputs[0]]), name=node.name))

    signature = [tf.TensorSpec((1, side, side, 3), tf.float32, name="image")]
    function = tf.function(lambda image: model(image, training=False), input_signature=signature)
    ct.convert(
        [convert_variables_to_constants_v2(function.get_concrete_function())],
        source="tensorflow",
        convert_to="mlprogram",
        inputs=[ct.ImageType(name="image", shape=(1, side, side, 3), scale=1 / 127.5, bias=[-1, -1, -1])],
        classifier_config=ct.ClassifierConfig(list(map(str, range(CLASSES)))),
        compute_precision=ct.precision[precision],
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    ).save(str(path))


def _scaled(side: int) -> Any:
    return _pixels(side) / np.float32(127.5) - 1


def _pixels(side: int) -> Any:
    # Large spots, different in each picture: noise alone would look the same to any network.
    coarse = np.random.default_rng(2).integers(0, 256, (IMAGES, 4, 4, 3))
    return coarse.repeat(side // 4, axis=1).repeat(side // 4, axis=2).astype(np.float32)
