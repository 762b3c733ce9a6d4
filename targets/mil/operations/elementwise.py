# SPDX-License-Identifier: Apache-2.0
"""Operations on each element; source: iOS15/elementwise_binary.py, iOS15/elementwise_unary.py, iOS15/control_flow.py (select)."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
from scipy import special

from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.limits import allowed
from edgeferry.targets.target import Unsupported

CASTS: Final = {
    "fp16": np.float32,
    "fp32": np.float32,
    "int32": np.int32,
    "int16": np.int16,
    "uint16": np.uint16,
    "int8": np.int8,
    "uint8": np.uint8,
    "bool": np.bool_,
}


def _unary(function: Callable[[Array], Any]) -> Callable[..., Any]:
    """Return ``function(x)`` under MIL's name of the input."""

    def operation(x: Array) -> Any:
        return function(x)

    return operation


def _binary(function: Callable[[Array, Array], Any]) -> Callable[..., Any]:
    """Return ``function(x, y)`` with numpy's broadcasting, under MIL's names of the inputs."""

    def operation(x: Array, y: Array) -> Any:
        _check_broadcast(x, y)
        return function(x, y)

    return operation


def cast(x: Array, dtype: str) -> Array:
    """Return x as another type; to integers, towards zero."""
    if dtype not in CASTS:
        raise Unsupported("EF-mil-unsupported", f"cast to {dtype} is not supported by the evaluator")
    return x.astype(CASTS[dtype], copy=False)


def clip(x: Array, alpha: Array, beta: Array) -> Array:
    """Return x within [alpha, beta]."""
    return np.clip(x, float(alpha), float(beta))


def log(x: Array, epsilon: float | Array = 1e-45) -> Any:
    """Return ``log(x + epsilon)``, the natural logarithm."""
    return np.log(x + float(epsilon))


def rsqrt(x: Array, epsilon: float | Array = 1e-12) -> Any:
    """Return ``1 / sqrt(x + epsilon)``."""
    return 1 / np.sqrt(x + float(epsilon))


def inverse(x: Array, epsilon: float | Array = 1e-4) -> Any:
    """Return ``1 / (x + epsilon)``."""
    return 1 / (x + float(epsilon))


def threshold(x: Array, alpha: Array) -> Any:
    """Return ``max(x, alpha)``."""
    return np.maximum(x, float(alpha))


def select(cond: Array, a: Array, b: Array) -> Array:
    """Return a's elements where cond is true, b's elsewhere."""
    _check_broadcast(cond, a, b)
    return np.where(cond, a, b)


def identity(x: Array) -> Array:
    """Return x."""
    return x


def _check_broadcast(*values: Array) -> None:
    shapes = {np.shape(value) for value in values}
    if len(shapes) > 1:
        allowed(np.broadcast_shapes(*shapes), "broadcast result")


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "abs": _unary(np.abs),
    "acos": _unary(np.arccos),
    "add": _binary(np.add),
    "asin": _unary(np.arcsin),
    "atan": _unary(np.arctan),
    "atanh": _unary(np.arctanh),
    "cast": cast,
    "ceil": _unary(np.ceil),
    "clip": clip,
    "cos": _unary(np.cos),
    "cosh": _unary(np.cosh),
    "equal": _binary(np.equal),
    "erf": _unary(special.erf),
    "exp": _unary(np.exp),
    "exp2": _unary(np.exp2),
    "floor": _unary(np.floor),
    "floor_div": _binary(np.floor_divide),
    "greater": _binary(np.greater),
    "greater_equal": _binary(np.greater_equal),
    "identity": identity,
    "inverse": inverse,
    "less": _binary(np.less),
    "less_equal": _binary(np.less_equal),
    "log": log,
    "logical_and": _binary(np.logical_and),
    "logical_not": _unary(np.logical_not),
    "logical_or": _binary(np.logical_or),
    "logical_xor": _binary(np.logical_xor),
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "mod": _binary(np.mod),
    "mul": _binary(np.multiply),
    "not_equal": _binary(np.not_equal),
    "pow": _binary(np.power),
    "real_div": _binary(np.divide),
    "round": _unary(np.round),
    "rsqrt": rsqrt,
    "select": select,
    "sign": _unary(np.sign),
    "sin": _unary(np.sin),
    "sinh": _unary(np.sinh),
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "sub": _binary(np.subtract),
    "tan": _unary(np.tan),
    "tanh": _unary(np.tanh),
    "threshold": threshold,
}
