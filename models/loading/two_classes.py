# SPDX-License-Identifier: Apache-2.0
"""One sigmoid taken as two classes: its logit z becomes the logits [0, z], whose softmax is exactly [1 - p, p].

The last Dense layer gets a first column of zeros, so that every format sees an ordinary Dense layer and an ordinary softmax.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.loading.loaded import Change, Loaded

if TYPE_CHECKING:
    import keras

CODE: Final = "model-one-output"
SIGMOID: Final = Change(CODE, "ends in one sigmoid, p, taken as two classes: 1 - p for the first label, p for the second")
LOGIT: Final = Change(CODE, "outputs one logit, z, taken as two classes: logit 0 for the first label, z for the second")
# Layers that change nothing at inference.
IDENTITIES: Final = ("Dropout", "Flatten", "GaussianNoise", "Identity")


@dataclass(frozen=True)
class _End:
    """The end of a model with one output: z = dense(before), or z = before without ``dense``; then perhaps a sigmoid."""

    before: Any
    dense: Any
    sigmoid: bool


def with_two_classes(loaded: Loaded) -> Loaded:
    """Return the model with two outputs where it has a single one, a sigmoid or a plain sum; any other as it is.

    Of several outputs it is kept whether they are sigmoids.
    """
    model = loaded.model
    if len(model.outputs) == 1 and tuple(model.outputs[0].shape[1:]) > (1,):
        return replace(loaded, sigmoids=_is_sigmoid(_changing(model.outputs[0])[0]))
    end = _end_of(model) if len(model.outputs) == 1 and tuple(model.outputs[0].shape[1:]) == (1,) else None
    if end is None:
        return loaded
    changes = (*loaded.changes, SIGMOID if end.sigmoid else LOGIT)
    return replace(loaded, model=_with_head(model, end), changes=changes, single_logit=not end.sigmoid)


def _with_head(model: "keras.Model", end: _End) -> "keras.Model":
    import keras
    import numpy as np

    kernel = np.ones((1, 1), np.float32) if end.dense is None else keras.ops.convert_to_numpy(end.dense.kernel)
    biased = end.dense is not None and end.dense.use_bias
    bias = keras.ops.convert_to_numpy(end.dense.bias) if biased else np.zeros(1, np.float32)
    name = "two_classes" if end.dense is None else end.dense.name
    head = keras.layers.Dense(2, activation="softmax" if end.sigmoid else None, name=name)
    whole = keras.Model(model.inputs[0] if len(model.inputs) == 1 else model.inputs, head(end.before), name=model.name)
    head.set_weights([np.concatenate([np.zeros_like(kernel), kernel], axis=1), np.concatenate([np.zeros_like(bias), bias])])
    return whole


def _end_of(model: "keras.Model") -> _End | None:
    """Return the end of a model with one output, or None where that is neither a sigmoid nor a Dense layer's plain sum."""
    last, before = _changing(model.outputs[0])
    if type(last).__name__ == "Dense" or not _is_sigmoid(last):
        if type(last).__name__ != "Dense" or before is None or _activation(last) not in {"sigmoid", "linear"}:
            return None
        return _End(before, last, _activation(last) == "sigmoid")
    dense, below = _changing(before)
    if type(dense).__name__ == "Dense" and below is not None and _activation(dense) == "linear":
        return _End(below, dense, sigmoid=True)
    return _End(before, None, sigmoid=True)


def _changing(tensor: Any) -> tuple[Any, Any]:
    """Return the last operation before a tensor that changes anything, and the tensor that it takes."""
    operation, before = _maker(tensor)
    while before is not None and _is_identity(operation) and tuple(before.shape) == tuple(tensor.shape):
        operation, before = _maker(before)
    return operation, before


def _maker(tensor: Any) -> tuple[Any, Any]:
    """Return the operation that computes a tensor, inside of nested models, and the one tensor that it takes, or None."""
    import keras

    operation, index, _ = tensor._keras_history  # noqa: SLF001 - Keras has no public way to walk a model's graph
    taken = operation._inbound_nodes[index].input_tensors  # noqa: SLF001
    if len(taken) != 1:
        return operation, None
    if not isinstance(operation, keras.Model):
        return operation, taken[0]
    inner, before = _maker(operation.outputs[0])
    if before is None or before is operation.inputs[0]:
        return inner, None if before is None else taken[0]
    return inner, keras.Model(operation.inputs[0], before)(taken[0])


def _is_identity(operation: Any) -> bool:
    name = type(operation).__name__
    return name in IDENTITIES or (name == "Activation" and _activation(operation) == "linear")


def _is_sigmoid(operation: Any) -> bool:
    """Say whether an operation ends in a sigmoid."""
    name = type(operation).__name__
    return name == "Sigmoid" or (name in {"Activation", "Dense"} and _activation(operation) == "sigmoid")


def _activation(layer: Any) -> str:
    return getattr(layer.activation, "__name__", "") or type(layer.activation).__name__
