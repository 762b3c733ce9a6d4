# SPDX-License-Identifier: Apache-2.0
"""Keras layers that coremltools does not convert unaided, and the layers that common classifiers are made of."""

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import keras
import numpy as np
import pytest
import tensorflow as tf
from golden_pair import write_golden_pair
from keras import layers

from edgeferry.exporters.coreml.conversion import FLOAT32, converted
from edgeferry.exporters.graph.fold import fold_batchnorm
from edgeferry.exporters.graph.layers import layer_of
from edgeferry.exporters.graph.source import INPUT, LOOPS, Source, _frozen
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.package import open_package
from edgeferry.targets.mil.program import labels_of, read_program

pytestmark = pytest.mark.slow

SIDE: Final = 16
CLASSES: Final = 5
OUTPUT: Final = "probabilities"
# Exact mode: float32 in another order.
LARGEST_DIFFERENCE: Final = 1e-3

Layers = Callable[[], list[Any]]


@keras.saving.register_keras_serializable()
def bessel(x: Any) -> Any:
    """Return a function that no phone computes."""
    return tf.math.bessel_i0e(x)


@pytest.fixture(autouse=True)
def seed() -> Iterator[None]:
    keras.utils.set_random_seed(5)
    yield
    keras.backend.clear_session()


def _source(body: list[Any], folder: Path) -> Source:
    """Return a classifier of these layers, between an image and a softmax whose outputs differ between images."""
    wide = keras.initializers.RandomNormal(stddev=8.0)
    model = keras.Sequential(
        [keras.Input((SIDE, SIDE, 3)), *body, layers.Flatten(), layers.Dense(CLASSES, "softmax", kernel_initializer=wide)]
    )
    model.save(folder / "small.keras")
    labels = tuple(f"class {number}" for number in range(CLASSES))
    how = Preprocessing(SIDE, SIDE, "rgb", (127.5,) * 3, (127.5,) * 3)
    spec = ModelSpec("small", folder / "small.toml", folder / "small.keras", labels, how, golden=folder)
    write_golden_pair(folder, model, how)
    plain = _frozen(spec, OUTPUT, None)
    single = _frozen(spec, OUTPUT, 1) if any(node.op in LOOPS for node in plain.node) else None
    reference: Any = SimpleNamespace(output=OUTPUT, source_sha256="")
    return Source(spec, reference, folder, fold_batchnorm(plain, OUTPUT)[0], (), single)


def _outputs(source: Source, images: Any) -> tuple[Any, Any, set[str]]:
    """Return Keras's probabilities, the package's, and the operations in the package."""
    package = source.folder / "small.mlpackage"
    converted(source, FLOAT32, "iOS16").save(str(package))
    opened = open_package(package)
    program, labels = read_program(opened, rounds_to_float16=False), labels_of(opened)
    assert labels == source.spec.labels
    evaluated = [program.evaluated({INPUT: np.ascontiguousarray(image[None].transpose(0, 3, 1, 2))}) for image in images]
    exported = np.array([[each[opened.probabilities][label] for label in labels] for each in evaluated])
    expected = keras.saving.load_model(source.spec.model)((images - 127.5) / 127.5, training=False).numpy()
    return expected, exported, {operation.type for operation in opened.block.operations}


def _attention() -> list[Any]:
    class_ = layers.Conv2D(16, 4, strides=4), layers.Reshape((16, 16))
    tokens = keras.Input((16, 16))
    x = layers.Add()([tokens, layers.MultiHeadAttention(2, 8)(y := layers.LayerNormalization()(tokens), y)])
    y = layers.Dense(16)(layers.Dense(32, activation="gelu")(layers.LayerNormalization()(x)))
    return [*class_, keras.Model(tokens, layers.Add()([x, y])), layers.GlobalAveragePooling1D()]


SMALL: Final[dict[str, Layers]] = {
    "exact GELU": lambda: [layers.Conv2D(8, 3, activation="gelu")],
    "grouped": lambda: [layers.Conv2D(8, 3), layers.Conv2D(16, 3, groups=4), layers.BatchNormalization(), layers.ReLU()],
    "grouped, dilated": lambda: [layers.Conv2D(8, 3), layers.Conv2D(8, 3, groups=2, dilation_rate=2, activation="gelu")],
    "grouped, one dimension": lambda: [
        layers.Reshape((16, 48)),
        layers.Conv1D(8, 3, groups=2, padding="causal", dilation_rate=2),
    ],
    "LSTM": lambda: [layers.Reshape((16, 48)), layers.LSTM(12)],
    "transformer": _attention,
    "convolutions": lambda: [
        layers.SeparableConv2D(8, 3),
        layers.PReLU(shared_axes=[1, 2]),
        layers.GroupNormalization(4),
        layers.DepthwiseConv2D(3, dilation_rate=2),
        layers.Conv2DTranspose(8, 3, strides=2),
        layers.UpSampling2D(2, interpolation="bilinear"),
    ],
    "activations": lambda: [
        layer
        for each in ("silu", "hard_swish", "elu", "selu", "mish", "softplus", "hard_sigmoid", "leaky_relu", "tanh")
        # Without it, nothing of the image would be left after so many layers.
        for layer in (layers.Conv2D(8, 1, activation=each), layers.LayerNormalization())
    ],
}


@pytest.mark.parametrize("name", SMALL)
def test_it_predicts_like_keras(name: str, tmp_path: Path) -> None:
    images = np.random.default_rng(3).integers(0, 256, (6, SIDE, SIDE, 3)).astype(np.float32)
    expected, exported, _ = _outputs(_source(SMALL[name](), tmp_path), images)
    # If it were the same for all images, a wrong package would pass.
    assert np.ptp(expected, axis=0).max() > 20 * LARGEST_DIFFERENCE
    assert abs(exported - expected).max() < LARGEST_DIFFERENCE
    assert (exported.argmax(1) == expected.argmax(1)).all()


@pytest.mark.parametrize("name", ["grouped", "grouped, dilated"])
def test_groups_stay_one_convolution(name: str, tmp_path: Path) -> None:
    program = converted(_source(SMALL[name](), tmp_path), FLOAT32, "iOS16").get_spec().mlProgram.functions["main"]
    operations = program.block_specializations[program.opset].operations
    assert sum(each.type == "conv" for each in operations) == 2
    assert not any(each.type in {"split", "concat"} for each in operations)


def test_a_layer_that_cannot_be_converted_is_named(tmp_path: Path) -> None:
    body = [layers.Conv2D(4, 3), layers.Conv2D(4, 3, activation=bessel, name="my_layer")]
    source = _source(body, tmp_path)
    with pytest.raises(EdgeError, match=r"'my_layer' .*BesselI0e") as caught:
        converted(source, FLOAT32, "iOS16")
    assert caught.value.code == "EF-coreml-operation"


@pytest.mark.parametrize(
    ("node", "layer"),
    [
        ("sequential_1/my_layer_1/Erfc", "my_layer"),
        ("functional/backbone_1/block3_1/BesselI0e", "backbone/block3"),
        ("my_layer_1/BesselI0e", "my_layer"),
        ("Lgamma", "Lgamma"),
    ],
)
def test_a_node_s_layer_is_found_in_its_name(node: str, layer: str) -> None:
    assert layer_of(node, {"my_layer", "backbone", "block3"}) == layer
