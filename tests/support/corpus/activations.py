# SPDX-License-Identifier: Apache-2.0
"""A network for each activation: as a layer of its own, on features from about -6 to 6."""

from collections.abc import Iterator
from typing import Final

from corpus.network import Network

NAMES: Final = (
    *("celu", "elu", "exponential", "gelu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_tanh", "leaky_relu", "linear"),
    *("log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu", "soft_shrink", "softmax", "softplus"),
    *("softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus", "tanh", "tanh_shrink", "threshold"),
)


def networks() -> Iterator[Network]:
    """Yield a network for each activation, and for each layer that is one."""
    import keras
    from keras import layers as k

    for name in NAMES:
        function = getattr(keras.activations, name)
        if name == "threshold":
            yield Network(name, (f"activations.{name}",), "features", lambda x: keras.ops.threshold(x, 0.5, -1.0))
        else:
            yield Network(name, (f"activations.{name}",), "features", lambda x, function=function: k.Activation(function)(x))
    for title, build in {
        "glu": lambda x: keras.ops.glu(x),
        "gelu (tanh)": lambda x: keras.ops.gelu(x, approximate=True),
        "elu (alpha 0.5)": lambda x: keras.ops.elu(x, alpha=0.5),
        "celu (alpha 2)": lambda x: keras.ops.celu(x, alpha=2.0),
    }.items():
        yield Network(title, (f"activations.{title.partition(' ')[0]}",), "features", build)
    for title, layer in {
        "ReLU": lambda: k.ReLU(),
        "ReLU (slope, limit, threshold)": lambda: k.ReLU(max_value=4.0, negative_slope=0.1, threshold=0.5),
        "LeakyReLU": lambda: k.LeakyReLU(negative_slope=0.2),
        "ELU": lambda: k.ELU(alpha=0.7),
        "PReLU": lambda: k.PReLU(alpha_initializer="glorot_uniform"),
        "PReLU (per channel)": lambda: k.PReLU(alpha_initializer="glorot_uniform", shared_axes=[1, 2]),
        "Softmax": lambda: k.Softmax(),
        "Softmax (rows)": lambda: k.Softmax(axis=1),
        "Activation": lambda: k.Activation("relu"),
    }.items():
        yield Network(title, (f"layers.{title.partition(' ')[0]}",), "features", lambda x, layer=layer: layer()(x))
