# SPDX-License-Identifier: Apache-2.0
"""Small networks that the converter alone gets wrong, each run in Node and compared with Keras."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pytest
from golden_pair import write_golden_pair

from edgeferry.exporters.graph.fold import fold_batchnorm
from edgeferry.exporters.graph.source import LOOPS, Source, _frozen
from edgeferry.exporters.tfjs import formats as tfjs
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import keras

pytestmark = pytest.mark.slow

SHAPE: Final = (16, 16, 3)
CLASSES: Final = 4
# Every network is within 1e-6 here; fused wrongly, or without its slope, it is off by 5e-4 and more.
LARGEST_DIFFERENCE: Final = 1e-5
ACTIVATIONS: Final = (
    "relu",
    "relu6",
    "elu",
    "selu",
    "leaky_relu",
    "sigmoid",
    "hard_sigmoid",
    "tanh",
    "silu",
    "hard_silu",
    "gelu",
    "softplus",
    "relu_to_4_with_slope",
    "prelu",
)


def _activated(name: str) -> "keras.Model":
    """Return a network with one activation after a convolution, a depthwise one, one without bias and a Dense layer."""
    from keras import layers

    def activation(rank: int) -> Any:
        if name == "prelu":
            return layers.PReLU(alpha_initializer="normal", shared_axes=[1, 2] if rank == 4 else None)
        return layers.ReLU(4.0, negative_slope=0.1) if name == "relu_to_4_with_slope" else layers.Activation(name)

    return _sequential(
        layers.Conv2D(8, 3, bias_initializer="normal"),
        activation(4),
        layers.DepthwiseConv2D(3, bias_initializer="normal"),
        activation(4),
        layers.Conv2D(6, 1, use_bias=False),
        activation(4),
        layers.GlobalAveragePooling2D(),
        layers.Dense(8, bias_initializer="normal"),
        activation(2),
    )


def _added(first: str, second: str) -> "keras.Model":
    """Return a network that adds two branches which have no bias."""
    import keras
    from keras import layers

    image = keras.Input(SHAPE)
    same = layers.Conv2D(6, 3, padding="same", use_bias=False)(image)
    branches = {
        "itself": lambda: same,
        "convolution": lambda: layers.Conv2D(6, 3, padding="same", use_bias=False)(same),
        "depthwise": lambda: layers.DepthwiseConv2D(3, padding="same", use_bias=False)(same),
    }
    total = layers.ReLU()(layers.Add()([branches[first](), branches[second]()]))
    return keras.Model(image, layers.Dense(CLASSES, activation="softmax")(layers.Flatten()(total)))


def _padded() -> "keras.Model":
    from keras import layers

    return _sequential(
        layers.ZeroPadding2D(((0, 1), (2, 1))),
        layers.Conv2D(8, 3, strides=2, bias_initializer="normal", activation="relu"),
        layers.ZeroPadding2D(((0, 1), (0, 1))),
        layers.DepthwiseConv2D(3, strides=2, bias_initializer="normal"),
        layers.GlobalAveragePooling2D(),
    )


def _recurrent(kind: str) -> "keras.Model":
    from keras import layers

    if kind == "ConvLSTM2D":
        return _sequential(layers.Reshape((4, 4, 16, 3)), layers.ConvLSTM2D(5, 3), layers.Flatten())
    inner = layers.Bidirectional(layers.LSTM(8)) if kind == "Bidirectional" else getattr(layers, kind)(8)
    return _sequential(layers.Reshape((16, 48)), inner)


def _sequential(*inner: Any) -> "keras.Model":
    import keras

    return keras.Sequential([keras.Input(SHAPE), *inner, keras.layers.Dense(CLASSES, activation="softmax")])


NETWORKS: Final[dict[str, Callable[[], "keras.Model"]]] = {
    **{name: lambda name=name: _activated(name) for name in ACTIVATIONS},  # type: ignore[misc]
    "convolution + input": lambda: _added("convolution", "itself"),
    "input + convolution": lambda: _added("itself", "convolution"),
    "convolution + convolution": lambda: _added("convolution", "convolution"),
    "depthwise + input": lambda: _added("depthwise", "itself"),
    "padded": _padded,
    **{name: lambda name=name: _recurrent(name) for name in ("LSTM", "GRU", "SimpleRNN", "Bidirectional", "ConvLSTM2D")},  # type: ignore[misc]
}


def _source(model: "keras.Model", folder: Path) -> Source:
    model.save(folder / "model.keras")
    spec = ModelSpec(
        name=folder.name,
        path=folder / "model.toml",
        model=folder / "model.keras",
        labels=tuple("abcd"),
        preprocessing=Preprocessing(*SHAPE[:2], "rgb", (0.0,) * 3, (1.0,) * 3),
        golden=folder,
    )
    write_golden_pair(folder, model, spec.preprocessing)
    plain = _frozen(spec, "probabilities", None)
    graph, _ = fold_batchnorm(plain, "probabilities")
    reference: Any = SimpleNamespace(output="probabilities", source_sha256="")
    loops = any(node.op in LOOPS for node in plain.node)
    return Source(spec, reference, folder, graph, (), graph if loops else None)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory, run_in_node: Any) -> dict[str, Any]:
    """Return Keras's scores for one image, Node's scores or its error, and the file's operations, by network."""
    import keras

    keras.utils.set_random_seed(7)
    image = np.random.default_rng(5).normal(size=(1, *SHAPE)).astype(np.float32)
    found: dict[str, Any] = {}
    folders: dict[str, Path] = {}
    for name, make in NETWORKS.items():
        folder = tmp_path_factory.mktemp("network")
        model = make()
        written = tfjs.write(_source(model, folder), folder, tfjs.TfjsOptions(), "float32")
        topology = json.loads((folder / "model.json").read_text())["modelTopology"]
        found[name] = {
            "keras": model(image).numpy()[0],
            "operations": [node["op"] for node in topology["node"]],
            "notes": written.notes,
        }
        folders[name] = folder
    for name, run in run_in_node(image, folders).items():
        found[name] |= run
    return found


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_predicts_as_in_keras(name: str, found: dict[str, Any]) -> None:
    run = found[name]
    assert "error" not in run, run["error"]
    assert np.abs(np.asarray(run["scores"]) - run["keras"]).max() < LARGEST_DIFFERENCE


@pytest.mark.parametrize("name", ["relu", "relu6", "elu", "leaky_relu"])
def test_activations_that_every_backend_supports_are_fused(name: str, found: dict[str, Any]) -> None:
    left = [op for op in found[name]["operations"] if op in {"Relu", "Relu6", "Elu", "LeakyRelu", "Conv2D", "BiasAdd"}]
    # TensorFlow.js would ignore the slope in a depthwise convolution.
    assert left == (["LeakyRelu"] if name == "leaky_relu" else [])


def test_zero_padding_is_done_by_the_convolution_it_precedes(found: dict[str, Any]) -> None:
    assert "Pad" not in found["padded"]["operations"]


def test_flattening_does_not_compute_the_batch_size(found: dict[str, Any]) -> None:
    assert not {"Shape", "StridedSlice", "Pack"} & set(found["convolution + input"]["operations"])


@pytest.mark.parametrize("name", ["LSTM", "Bidirectional", "ConvLSTM2D"])
def test_recurrent_layers_are_unrolled_and_noted(name: str, found: dict[str, Any]) -> None:
    assert not {"While", "StatelessWhile", "TensorListReserve"} & set(found[name]["operations"])
    assert found[name]["notes"] == ("recurrent layers are unrolled",)


def test_unrolling_a_layer_does_not_change_the_model(tmp_path: Path) -> None:
    from edgeferry.models.keras_loader import classifier

    source = _source(_recurrent("LSTM"), tmp_path)
    tfjs.write(source, tmp_path, tfjs.TfjsOptions(), "float32")
    assert [layer.unroll for layer in classifier(source.spec).layers if hasattr(layer, "unroll")] == [False]


def test_an_operation_that_tensorflow_js_lacks_is_named_with_its_layer(tmp_path: Path) -> None:
    from keras import layers

    model = _sequential(layers.Reshape((4, 4, 16, 3)), layers.Conv3DTranspose(2, 2, name="opened"), layers.Flatten())
    with pytest.raises(EdgeError, match=r"'opened' computes Conv3DBackpropInputV2 .*TensorFlow.js") as caught:
        tfjs.write(_source(model, tmp_path), tmp_path, tfjs.TfjsOptions(), "float32")
    assert caught.value.code == "EF-tfjs-operation"
