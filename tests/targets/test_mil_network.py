# SPDX-License-Identifier: Apache-2.0
"""A whole network of the Keras applications, converted as anyone would, evaluated from disk and held to Keras."""

from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from targets.mil.package import open_package
from targets.mil.program import read_program

SIDE: Final = 96
CLASSES: Final = 10
IMAGES: Final = 8


@pytest.fixture(scope="module")
def network() -> Any:
    """Return MobileNetV2 0.35 with perturbed batch statistics and a head that tells random pictures apart."""
    keras = pytest.importorskip("keras", reason="Keras is not installed")
    keras.utils.set_random_seed(1)
    rng, pictures = np.random.default_rng(0), _pixels() / np.float32(127.5) - 1
    model = keras.applications.MobileNetV2((SIDE, SIDE, 3), alpha=0.35, weights=None, classes=CLASSES)
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


def _pixels() -> Any:
    # Large spots, each picture its own: noise alone would look the same to any network.
    coarse = np.random.default_rng(2).integers(0, 256, (IMAGES, 4, 4, 3))
    return coarse.repeat(SIDE // 4, axis=1).repeat(SIDE // 4, axis=2).astype(np.float32)


@pytest.mark.slow
def test_a_mobilenet_in_float32_answers_as_keras_does(network: Any, tmp_path: Path) -> None:
    import coremltools as ct
    import tensorflow as tf

    signature = [tf.TensorSpec((1, SIDE, SIDE, 3), tf.float32, name="image")]
    function = tf.function(lambda image: network(image, training=False), input_signature=signature)
    ct.convert(
        [function.get_concrete_function()],
        source="tensorflow",
        convert_to="mlprogram",
        inputs=[ct.ImageType(name="image", shape=(1, SIDE, SIDE, 3), scale=1 / 127.5, bias=[-1, -1, -1])],
        classifier_config=ct.ClassifierConfig(list(map(str, range(CLASSES)))),
        compute_precision=ct.precision.FLOAT32,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    ).save(str(tmp_path / "model.mlpackage"))
    package = open_package(tmp_path / "model.mlpackage")
    program = read_program(package, rounds_to_float16=False)
    planes = _pixels().transpose(0, 3, 1, 2)
    answers = [program.evaluated({"image": planes[at : at + 1]})[package.probabilities] for at in range(IMAGES)]
    scores = np.array([[answer[str(label)] for label in range(CLASSES)] for answer in answers])
    expected = network(_pixels() / np.float32(127.5) - 1, training=False).numpy()
    assert len(set(expected.argmax(axis=1))) > 2
    np.testing.assert_array_equal(scores.argmax(axis=1), expected.argmax(axis=1))
    assert abs(scores - expected).max() < 1e-3
