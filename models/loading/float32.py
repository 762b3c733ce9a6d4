# SPDX-License-Identifier: Apache-2.0
"""A model of another precision made again in float32: mixed precision, float16, bfloat16 and float64, as a policy or an input."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.loading.loaded import Change, Loaded

if TYPE_CHECKING:
    import keras

CODE: Final = "model-float32"
FLOAT32: Final = "float32"
OTHERS: Final = frozenset({"float16", "bfloat16", "float64", "mixed_float16", "mixed_bfloat16"})


def in_float32(loaded: Loaded) -> Loaded:
    """Return the model with every layer and input of another floating-point precision in float32, and the same weights."""
    model = loaded.model
    found = sorted({name for name in _precisions(model) if name in OTHERS})
    if not found:
        return loaded
    again = type(model).from_config(_without_precision(model.get_config()))
    again.set_weights(model.get_weights())
    note = f"computes in {' and '.join(found)}, and is made again in float32 with the same weights"
    return replace(loaded, model=again, changes=(*loaded.changes, Change(CODE, note)))


def _precisions(model: "keras.Model") -> Iterator[str]:
    yield from (str(tensor.dtype) for tensor in model.inputs)
    for layer in model._flatten_layers(include_self=False):  # noqa: SLF001 - Keras has no public way to list all sublayers
        yield layer.dtype_policy.name


def _without_precision(value: Any) -> Any:
    """Return a part of a configuration with float32 in the place of other precisions."""
    if isinstance(value, list | tuple):
        return type(value)(map(_without_precision, value))
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "DTypePolicy" and value["config"].get("name") in OTHERS:
        return {**value, "config": {**value["config"], "name": FLOAT32}}
    return {key: FLOAT32 if key == "dtype" and _is_other(part) else _without_precision(part) for key, part in value.items()}


def _is_other(value: Any) -> bool:
    return isinstance(value, str) and value in OTHERS
