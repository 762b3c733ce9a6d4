# SPDX-License-Identifier: Apache-2.0
"""TensorFlow functions that a Keras 2 model calls on its tensors, such as ``x / 127.5 - 1``, by functions of Keras 3."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

# By TensorFlow's name: the function of keras.ops, called with the same arguments in the same order.
SAME: Final[Mapping[str, str]] = {
    "__operators__.add": "add",
    "math.add": "add",
    "math.subtract": "subtract",
    "math.multiply": "multiply",
    "math.divide": "divide",
    "math.truediv": "divide",
    "math.maximum": "maximum",
    "math.minimum": "minimum",
    "math.pow": "power",
    "math.square": "square",
    "math.sqrt": "sqrt",
    "math.rsqrt": "rsqrt",
    "math.abs": "absolute",
    "math.negative": "negative",
    "math.exp": "exp",
    "math.log": "log",
    "math.sigmoid": "sigmoid",
    "math.tanh": "tanh",
    "math.softplus": "softplus",
    "nn.relu": "relu",
    "nn.relu6": "relu6",
    "nn.elu": "elu",
    "nn.selu": "selu",
    "concat": "concatenate",
    "stack": "stack",
    "expand_dims": "expand_dims",
    "squeeze": "squeeze",
    "linalg.matmul": "matmul",
}
REDUCTIONS: Final[Mapping[str, str]] = {
    "math.reduce_mean": "mean",
    "math.reduce_sum": "sum",
    "math.reduce_max": "max",
    "math.reduce_min": "min",
}
# Those that take a list of tensors first, also where the list has one.
OF_LISTS: Final = ("concat", "stack")
SLICE: Final = "__operators__.getitem"
METHODS: Final = ("bilinear", "nearest", "bicubic", "lanczos3", "lanczos5")


def function_of(name: str) -> Callable[..., Any] | None:
    """Return what computes a TensorFlow function, by its name below ``tf``, on Keras tensors; None where it is not known."""
    import keras

    if name in SAME:
        return partial(_called, getattr(keras.ops, SAME[name]))
    if name in REDUCTIONS:
        return partial(_reduced, getattr(keras.ops, REDUCTIONS[name]))
    return _own().get(name)


def _own() -> dict[str, Callable[..., Any]]:
    from keras import ops

    return {
        SLICE: lambda x, slice_spec: x[tuple(map(_slice_of, slice_spec))],
        "cast": lambda x, dtype: ops.cast(x, str(dtype).removeprefix("tf.")),
        "identity": lambda x: x,
        "convert_to_tensor": lambda x, **_: x,
        "reshape": lambda tensor, shape: ops.reshape(tensor, shape),  # noqa: PLW0108 - the names are TensorFlow's
        "compat.v1.transpose": lambda x, perm=None, **_: ops.transpose(x, perm),
        "transpose": lambda x, perm=None, **_: ops.transpose(x, perm),
        "clip_by_value": _clipped,
        "nn.softmax": lambda x, axis=None: ops.softmax(x, -1 if axis is None else axis),
        "nn.log_softmax": lambda x, axis=None: ops.log_softmax(x, -1 if axis is None else axis),
        "nn.silu": lambda x, beta=1.0: x * ops.sigmoid(x if beta == 1 else x * beta),
        "nn.gelu": lambda x, approximate=False: ops.gelu(x, approximate),
        "nn.leaky_relu": lambda x, alpha=0.2: ops.leaky_relu(x, alpha),
        "nn.bias_add": lambda x, bias, **_: ops.add(x, _constant(bias)),
        "math.l2_normalize": lambda x, axis=None, epsilon=1e-12: (
            x * ops.rsqrt(ops.maximum(ops.sum(ops.square(x), axis, keepdims=True), epsilon))
        ),
        "image.resize": _resized,
        "image.grayscale_to_rgb": lambda x: ops.repeat(x, 3, axis=-1),
    }


def _called(function: Callable[..., Any], x: Any, y: Any = None, **options: Any) -> Any:
    given = {"axis": options["axis"]} if options.get("axis") is not None else {}
    if set(options) - {"axis"}:
        raise TypeError(f"the options {', '.join(options)} are not known")
    return function(_constant(x), **given) if y is None else function(_constant(x), _constant(y), **given)


def _reduced(function: Callable[..., Any], x: Any, axis: Any = None, **options: Any) -> Any:
    return function(x, axis=axis, keepdims=bool(options.get("keepdims")))


def _clipped(x: Any, clip_value_min: Any, clip_value_max: Any) -> Any:
    import keras

    return keras.ops.clip(x, clip_value_min, clip_value_max)


def _resized(images: Any, size: Any, method: str = "bilinear", **options: Any) -> Any:
    import keras

    if method not in METHODS or options.get("preserve_aspect_ratio"):
        raise TypeError(f"the method {method!r} is not known")
    return keras.ops.image.resize(images, size, interpolation=method, antialias=bool(options.get("antialias")))


def _constant(value: Any) -> Any:
    import numpy as np

    held = isinstance(value, list) and not any(hasattr(each, "dtype") for each in value)
    return np.asarray(value, np.float32) if held else value


def _slice_of(part: Any) -> Any:
    if isinstance(part, dict):
        return slice(part["start"], part["stop"], part["step"]) if "start" in part else Ellipsis
    return part
