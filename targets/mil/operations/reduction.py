# SPDX-License-Identifier: Apache-2.0
"""Reductions; source: iOS15/reduction.py."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np

from edgeferry.targets.mil.arrays import Array


def _over(reduce: Callable[..., Any]) -> Callable[..., Any]:
    """Return a reduction over axes, by default over all, under MIL's names of the inputs."""

    def operation(x: Array, axes: Array | None = None, *, keep_dims: bool | Array = False) -> Any:
        chosen = None if axes is None else tuple(int(axis) for axis in axes)
        return reduce(x, axis=chosen, keepdims=bool(keep_dims))

    return operation


def _place(find: Callable[..., Any]) -> Callable[..., Any]:
    """Return a search along an axis, under MIL's names of the inputs."""

    def operation(
        x: Array,
        axis: int | Array = -1,
        *,
        keep_dims: bool | Array = False,
        output_dtype: str = "int32",  # noqa: ARG001 - the result's declared type is the same
    ) -> Any:
        return find(x, axis=int(axis), keepdims=bool(keep_dims))

    return operation


def _l1_norm(x: Array, **how: Any) -> Any:
    return np.sum(np.abs(x), **how)


def _l2_norm(x: Array, **how: Any) -> Any:
    return np.sqrt(np.sum(np.square(x), **how))


def _log_sum(x: Array, **how: Any) -> Any:
    return np.log(np.sum(x, **how))


def _log_sum_exp(x: Array, **how: Any) -> Any:
    return np.logaddexp.reduce(x, **how)


def _sum_square(x: Array, **how: Any) -> Any:
    return np.sum(np.square(x), **how)


OPERATIONS: Final[Mapping[str, Callable[..., Any]]] = {
    "reduce_argmax": _place(np.argmax),
    "reduce_argmin": _place(np.argmin),
    "reduce_l1_norm": _over(_l1_norm),
    "reduce_l2_norm": _over(_l2_norm),
    "reduce_log_sum": _over(_log_sum),
    "reduce_log_sum_exp": _over(_log_sum_exp),
    "reduce_max": _over(np.max),
    "reduce_mean": _over(np.mean),
    "reduce_min": _over(np.min),
    "reduce_prod": _over(np.prod),
    "reduce_sum": _over(np.sum),
    "reduce_sum_square": _over(_sum_square),
}
