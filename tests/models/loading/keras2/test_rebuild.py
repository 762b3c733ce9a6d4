# SPDX-License-Identifier: Apache-2.0
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers
from keras2_files import after, entry, functional, image, sequential, write_hdf5, write_zip

from edgeferry.models.keras_loader import load, load_model
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow

SHAPE = (8, 6, 3)
RNG = np.random.default_rng(6)
IMAGES = RNG.uniform(-1, 1, (5, *SHAPE)).astype(np.float32)


def coded(code: str) -> Callable[[EdgeError], bool]:
    return lambda error: error.code == code


def normal(*shape: int) -> Any:
    return np.random.default_rng(sum(shape)).normal(0, 0.5, shape).astype(np.float32)


def conv(name: str, *nodes: Any, **options: Any) -> dict[str, Any]:
    return entry("Conv2D", name, *nodes, **{"filters": 4, "kernel_size": [3, 3], "groups": 1, "activation": "linear", **options})


def depthwise(name: str, *nodes: Any, **options: Any) -> dict[str, Any]:
    """Return a layer as Keras 2.4 writes it: with `groups`, which the class does not take in Keras 3."""
    return entry("DepthwiseConv2D", name, *nodes, kernel_size=[3, 3], padding="same", groups=1, depth_multiplier=1, **options)


def dense(name: str = "dense", *nodes: Any, units: int = 3, activation: Any = "softmax", **options: Any) -> dict[str, Any]:
    return entry("Dense", name, *nodes, units=units, activation=activation, **options)


def norm(name: str, *nodes: Any) -> dict[str, Any]:
    return entry("BatchNormalization", name, *nodes, axis=[3], momentum=0.99, epsilon=0.001, center=True, scale=True)


def norm_weights(name: str, count: int) -> dict[str, Any]:
    gamma, beta, mean = (normal(count) + shift for shift in (1.0, 0.1, 0.2))
    variance = np.abs(normal(count)) + 0.5
    return dict(zip((f"{name}/{each}:0" for each in ("gamma", "beta", "moving_mean", "moving_variance")),
                    (gamma, beta, mean, variance), strict=True))  # fmt: skip


FEATURES = {"stem/kernel:0": normal(3, 3, 3, 4), "deep/depthwise_kernel:0": normal(3, 3, 4, 1), **norm_weights("bn", 4)}
HEAD = {"hidden/kernel:0": normal(4, 5), "hidden/bias:0": normal(5), "last/kernel:0": normal(5, 3)}


def teachable_machine(*, frozen: bool = False) -> dict[str, Any]:
    """Return what Teachable Machine saves: a Sequential of a Sequential around a network and a Sequential of Dense layers."""
    inner = [
        image(SHAPE, "input_1"),
        conv("stem", after("input_1"), use_bias=False),
        depthwise("deep", after("stem"), use_bias=False),
        norm("bn", after("deep")),
    ]
    network = functional("network", inner, "bn")
    for each in inner[1:2]:
        each["config"]["trainable"] = not frozen
    features = sequential("features", network, entry("GlobalAveragePooling2D", "pool", data_format="channels_last"))
    head = sequential(
        "head",
        dense("hidden", units=5, activation="relu", batch_input_shape=[None, 4]),
        dense("last", units=3, use_bias=False),
    )
    return sequential("whole", features, head, build_config={"input_shape": [None, *SHAPE]})


def expected(head: dict[str, Any] = HEAD) -> Any:
    """Return what the network of these weights predicts, computed by layers of Keras 3 that are made here."""
    x = keras.Input(SHAPE)
    parts = [
        layers.Conv2D(4, 3, use_bias=False),
        layers.DepthwiseConv2D(3, padding="same", use_bias=False),
        layers.BatchNormalization(),
        layers.GlobalAveragePooling2D(),
        layers.Dense(5, activation="relu"),
        layers.Dense(3, activation="softmax", use_bias=False),
    ]
    y = x
    for part in parts:
        y = part(y)
    values = [*FEATURES.values(), *head.values()]
    for part in parts:
        count = len(part.weights)
        part.set_weights(values[:count])
        values = values[count:]
    return keras.Model(x, y).predict_on_batch(IMAGES)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_file_of_teachable_machine_predicts_what_its_weights_say(tmp_path: Path, frozen: Any) -> None:
    path = write_hdf5(tmp_path / "my.h5", teachable_machine(frozen=frozen), {"features": FEATURES, "head": HEAD})
    scores = load_model(path).predict_on_batch(IMAGES)
    assert np.ptp(scores, axis=0).max() > 0.01
    assert np.abs(scores - expected()).max() < 1e-6


def test_that_a_file_was_built_again_is_reported_with_the_number_of_its_weights(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "my.h5", teachable_machine(), {"features": FEATURES, "head": HEAD})
    (change,) = load(path).changes
    assert change.code == "model-keras-2"
    assert "saved by Keras 2.4.0" in change.sentence
    assert "each of its 9 weights" in change.sentence


def test_a_keras_file_of_keras_2_predicts_the_same(tmp_path: Path) -> None:
    network, values = "layers/sequential/layers/functional/layers", list(FEATURES.values())
    groups = {
        f"{network}/conv2d": values[:1],
        f"{network}/depthwise_conv2d": values[1:2],
        f"{network}/batch_normalization": values[2:],
        "layers/sequential_1/layers/dense": list(HEAD.values())[:2],
        "layers/sequential_1/layers/dense_1": list(HEAD.values())[2:],
        "optimizer": [np.asarray(3, np.int64), normal(4, 5)],
    }
    path = write_zip(tmp_path / "my.keras", teachable_machine(), groups)
    assert np.abs(load_model(path).predict_on_batch(IMAGES) - expected()).max() < 1e-6


# What Keras 3 does in another way.


def flat(activation: Any, *before: dict[str, Any]) -> dict[str, Any]:
    return sequential("whole", image(SHAPE), *before, entry("Flatten", "flatten"), dense(activation=activation, use_bias=False))


KERNEL = normal(144, 3)


def test_hard_sigmoid_is_that_of_keras_2(tmp_path: Path) -> None:
    path = write_hdf5(tmp_path / "my.h5", flat("hard_sigmoid"), {"dense": {"dense/kernel:0": KERNEL}})
    wanted = np.clip(0.2 * (IMAGES.reshape(5, -1) @ KERNEL) + 0.5, 0, 1)
    assert np.allclose(load_model(path).predict_on_batch(IMAGES), wanted, atol=1e-5)


def test_the_alpha_of_a_leaky_relu_is_kept(tmp_path: Path) -> None:
    model = flat("linear", entry("LeakyReLU", "leaky", alpha=0.25))
    path = write_hdf5(tmp_path / "my.h5", model, {"dense": {"dense/kernel:0": KERNEL}})
    wanted = np.where(IMAGES > 0, IMAGES, 0.25 * IMAGES).reshape(5, -1) @ KERNEL
    assert np.allclose(load_model(path).predict_on_batch(IMAGES), wanted, atol=1e-5)


def test_layers_that_only_train_do_nothing(tmp_path: Path) -> None:
    only = [entry("RandomFlip", "flip", mode="horizontal", seed=None), entry("RandomHeight", "high", factor=0.2)]
    path = write_hdf5(tmp_path / "my.h5", flat("linear", *only), {"dense": {"dense/kernel:0": KERNEL}})
    assert np.allclose(load_model(path).predict_on_batch(IMAGES), IMAGES.reshape(5, -1) @ KERNEL, atol=1e-5)


def test_states_of_random_generators_are_no_weights(tmp_path: Path) -> None:
    model = flat("linear", entry("RandomFlip", "flip", mode="horizontal", seed=None))
    state = {"flip/StateVar:0": np.arange(3, dtype=np.int64)}
    path = write_hdf5(tmp_path / "my.h5", model, {"flip": state, "dense": {"dense/kernel:0": KERNEL}})
    assert len(load_model(path).weights) == 1


def test_mixed_precision_is_built_in_float32(tmp_path: Path) -> None:
    model = flat("linear")
    model["config"]["layers"][-1]["config"]["dtype"] = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
    path = write_hdf5(tmp_path / "my.h5", model, {"dense": {"dense/kernel:0": KERNEL}})
    assert load_model(path).layers[-1].dtype_policy.compute_dtype == "float32"


# Functions of TensorFlow between the layers.


def function(name: str, path: str, *nodes: Any) -> dict[str, Any]:
    return entry("TFOpLambda", name, *nodes, function=path)


def test_preprocess_input_in_the_model_is_computed(tmp_path: Path) -> None:
    parts = [
        image(SHAPE),
        function("tf.math.truediv", "math.truediv", ["image", 0, 0, {"y": 127.5, "name": None}]),
        function("tf.math.subtract", "math.subtract", ["tf.math.truediv", 0, 0, {"y": 1.0, "name": None}]),
        entry("Flatten", "flatten", after("tf.math.subtract")),
        dense("dense", after("flatten"), activation="linear", use_bias=False),
    ]
    path = write_hdf5(tmp_path / "my.h5", functional("whole", parts, "dense"), {"dense": {"dense/kernel:0": KERNEL}})
    pixels = (IMAGES + 1) * 127.5
    assert np.allclose(load_model(path).predict_on_batch(pixels), IMAGES.reshape(5, -1) @ KERNEL, atol=1e-4)


def test_channels_are_swapped_where_the_model_slices_them_backwards(tmp_path: Path) -> None:
    backwards = [{"class_name": "__ellipsis__"}, {"start": None, "stop": None, "step": -1}]
    parts = [
        image(SHAPE),
        {**function("tf.__operators__.getitem", "__operators__.getitem", ["image", 0, 0, {"slice_spec": backwards}]),
         "class_name": "SlicingOpLambda"},
        function("tf.nn.bias_add", "nn.bias_add", [["tf.__operators__.getitem", 0, 0, {"bias": [-1.0, -2.0, -3.0]}]]),
        entry("Flatten", "flatten", after("tf.nn.bias_add")),
        dense("dense", after("flatten"), activation="linear", use_bias=False),
    ]  # fmt: skip
    path = write_hdf5(tmp_path / "my.h5", functional("whole", parts, "dense"), {"dense": {"dense/kernel:0": KERNEL}})
    wanted = (IMAGES[..., ::-1] - [1, 2, 3]).reshape(5, -1) @ KERNEL
    assert np.allclose(load_model(path).predict_on_batch(IMAGES), wanted, atol=1e-4)


def test_a_function_whose_name_is_that_of_a_later_layer_is_built(tmp_path: Path) -> None:
    parts = [
        image(SHAPE),
        function("tf.math.multiply", "math.multiply", ["image", 0, 0, {"y": 2.0}]),
        *(entry("Multiply", f"multiply{end}", after("tf.math.multiply", "image")) for end in ("", "_1", "_2")),
        entry("Add", "add", after("multiply", "multiply_1", "multiply_2")),
        entry("Flatten", "flatten", after("add")),
        dense("dense", after("flatten"), activation="linear", use_bias=False),
    ]
    path = write_hdf5(tmp_path / "my.h5", functional("whole", parts, "dense"), {"dense": {"dense/kernel:0": KERNEL}})
    assert np.allclose(load_model(path).predict_on_batch(IMAGES), (6 * IMAGES**2).reshape(5, -1) @ KERNEL, atol=1e-4)


def test_a_function_that_is_not_known_is_named(tmp_path: Path) -> None:
    parts = [image(SHAPE), function("tf.fft", "signal.fft2d", ["image", 0, 0, {}])]
    path = write_hdf5(tmp_path / "my.h5", functional("whole", parts, "tf.fft"), {})
    with pytest.raises(EdgeError, match=r"tf\.signal\.fft2d", check=coded("EF-model-keras-2")):
        load_model(path)


@pytest.mark.parametrize("first", [0, 1])
def test_a_nested_model_that_is_called_twice_is_built_whichever_number_its_calls_begin_with(tmp_path: Path, first: int) -> None:
    inner = functional("inner", [image(SHAPE, "in"), entry("Rescaling", "double", after("in"), scale=2.0, offset=0.5)], "double")
    inner["inbound_nodes"] = [after("image"), after("inner", number=first)]
    parts = [
        image(SHAPE),
        inner,
        entry("Subtract", "minus", [["inner", first + 1, 0, {}], ["inner", first, 0, {}]]),
        entry("Flatten", "flatten", after("minus")),
        dense("dense", after("flatten"), activation="linear", use_bias=False),
    ]
    path = write_hdf5(tmp_path / "my.h5", functional("whole", parts, "dense"), {"dense": {"dense/kernel:0": KERNEL}})
    wanted = (2 * (2 * IMAGES + 0.5) + 0.5 - (2 * IMAGES + 0.5)).reshape(5, -1) @ KERNEL
    assert np.allclose(load_model(path).predict_on_batch(IMAGES), wanted, atol=1e-4)


# Weights that are not those of the configuration.


def spoiled(change: Callable[[dict[str, Any]], None]) -> dict[str, dict[str, Any]]:
    weights = {"features": dict(FEATURES), "head": dict(HEAD)}
    change(weights)
    return weights


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda held: held["head"].pop("last/kernel:0"), "'head' has 3 weights, the file holds 2"),
        (lambda held: held["head"].update({"more/kernel:0": normal(5, 3)}), "'head' has 3 weights, the file holds 4"),
        (lambda held: held["head"].update({"last/kernel:0": normal(3, 5)}), r"'last/kernel:0' has the shape \[3, 5\]"),
        (lambda held: held.pop("head"), "nothing for '.*hidden/kernel'"),
        (lambda held: held["features"].update({"bn/gamma:0": np.ones((4, 1), np.float32)}), r"'bn/gamma:0' has the shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, change: Any, named: str) -> None:
    path = write_hdf5(tmp_path / "my.h5", teachable_machine(), spoiled(change))
    with pytest.raises(EdgeError, match=named, check=coded("EF-model-weights")):
        load_model(path)


def test_weights_of_a_group_that_no_layer_has_are_refused(tmp_path: Path) -> None:
    network, values = "layers/sequential/layers/functional/layers", list(FEATURES.values())
    groups = {
        f"{network}/conv2d": values[:1],
        f"{network}/depthwise_conv2d": values[1:2],
        f"{network}/batch_normalization": values[2:],
        "layers/sequential_1/layers/dense": list(HEAD.values())[:2],
        "layers/sequential_1/layers/dense_1": list(HEAD.values())[2:],
        "layers/sequential_1/layers/dense_2": [normal(7, 7)],
    }
    with pytest.raises(EdgeError, match="1 of its 10 weights belong to no layer", check=coded("EF-model-weights")):
        load_model(write_zip(tmp_path / "my.keras", teachable_machine(), groups))


# What is code, or is not in Keras 3.


@pytest.mark.parametrize(
    ("layer", "code", "named"),
    [
        (entry("Lambda", "trick", function=["4wEAAAA=", None, None]), "EF-model-lambda", "'trick'"),
        (entry("Custom>Scale", "scale"), "EF-model-custom-class", "'Custom>Scale'"),
        (entry("acme>ReLU", "relu"), "EF-model-custom-class", "'acme>ReLU'"),
        (entry("TFSMLayer", "saved", filepath="elsewhere"), "EF-model-custom-class", "'TFSMLayer'"),
        (entry("system", "harm", command="touch ran"), "EF-model-custom-class", "'system'"),
        ({**entry("system", "harm"), "module": "os"}, "EF-model-custom-class", r"os\.system"),
        (entry("Vis>QuantizeWrapperV2", "quant_conv"), "EF-model-quantized", "before quantize_model"),
        (entry("Activation", "act", activation="my_swish"), "EF-model-keras-2", "'my_swish'"),
        (entry("ReLU", "relu", max_value=6.0, steepness=3.0), "EF-model-keras-2", "steepness = 3.0"),
    ],
)
def test_what_is_not_keras_s_own_is_named_and_not_run(tmp_path: Path, layer: dict[str, Any], code: str, named: str) -> None:
    model = flat("linear")
    model["config"]["layers"].insert(1, layer)
    with pytest.raises(EdgeError, match=named, check=coded(code)):
        load_model(write_hdf5(tmp_path / "my.h5", model, {"dense": {"dense/kernel:0": KERNEL}}))
