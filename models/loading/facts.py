# SPDX-License-Identifier: Apache-2.0
"""What a loaded model has to be for any config, and for one config; each error names the fact that stands against it."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.loading.channel import RANK, first_layer
from edgeferry.models.loading.loaded import Loaded
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import keras

DTYPES: Final = ("float32", "uint8")
CHANNELS: Final = (1, 3)
IMAGE_RANK: Final = 4


def check_classifier(loaded: Loaded, path: Path) -> None:
    """Refuse a model that is no image classifier under any config.

    Raises:
        EdgeError: it has several inputs or outputs, takes no image, outputs no scores, holds weights that are not finite, or
            has a precision that no edge format has.
    """
    model = loaded.model
    for side, tensors in (("input", model.inputs), ("output", model.outputs)):
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors)
            raise EdgeError(
                "EF-model-tensor-count",
                f"{path}: has {len(tensors)} {side}s ({names}); only classifiers with one {side} are supported.",
            )
    _check_input(tuple(model.inputs[0].shape), str(model.inputs[0].dtype), loaded, path)
    _check_output(tuple(model.outputs[0].shape), path)
    _check_finite(model, path)
    _check_precision(model, path)


def check_against(loaded: Loaded, spec: ModelSpec) -> None:
    """Refuse a model that is not the image classifier its config describes.

    Raises:
        EdgeError: it is no image classifier, or has another shape or another number of classes.
    """
    check_classifier(loaded, spec.model)
    how, shape = spec.preprocessing, tuple(loaded.model.inputs[0].shape)
    expected = (how.height, how.width, how.channels)
    if not all(size in {None, wanted} for size, wanted in zip(shape[1:], expected, strict=True)):
        raise EdgeError(
            "EF-input-shape", f"{spec.path}: input.shape is {list(expected)}, but {spec.model.name} takes {list(shape[1:])}."
        )
    classes, labels = loaded.model.outputs[0].shape[1], len(spec.labels)
    if classes != labels:
        raise EdgeError(
            "EF-label-count",
            f"{spec.path}: model.labels has {labels} labels, but {spec.model.name} has {classes} classes: "
            f"{'add' if labels < classes else 'remove'} {abs(labels - classes)}.",
        )
    if loaded.single_logit and spec.output != "logits":
        raise EdgeError(
            "EF-model-one-logit",
            f"{spec.model}: outputs one number without a sigmoid. If it is the logit of the second label (trained with "
            f"BinaryCrossentropy(from_logits=True)), set model.output = 'logits' in {spec.path.name}; a model that predicts a "
            "quantity is no classifier.",
        )


def _check_input(shape: tuple[int | None, ...], dtype: str, loaded: Loaded, path: Path) -> None:
    if problem := _problem_of_shape(shape, loaded):
        raise EdgeError("EF-model-input", f"{path}: takes {shape}, {problem}; expected (batch, height, width, 1 or 3).")
    if dtype not in DTYPES:
        raise EdgeError(
            "EF-model-input", f"{path}: takes {dtype}; expected float32 or uint8. Begin the model with a float32 input."
        )


def _problem_of_shape(shape: tuple[int | None, ...], loaded: Loaded) -> str:
    """Return what is wrong with the shape of an input, or ''."""
    if len(shape) != IMAGE_RANK:
        layer = first_layer(loaded.model) if len(shape) == RANK else ""
        return "which is not an image" + (f" but a sequence: its first layer is {layer}" if layer else "")
    if shape[3] in CHANNELS:
        return ""
    if shape[1] in CHANNELS:
        return f"channels first {shape[1:]}: build the model with data_format='channels_last' and load its weights into that"
    return f"which has {'an open number of' if shape[3] is None else shape[3]} channels"


def _check_output(shape: tuple[int | None, ...], path: Path) -> None:
    if len(shape) != 2 or shape[1] is None:
        raise EdgeError(
            "EF-model-output", f"{path}: outputs {shape}, which is not a classifier's output; expected (batch, classes)."
        )
    if shape[1] < 2:
        raise EdgeError(
            "EF-model-output",
            f"{path}: outputs one number that is neither a sigmoid nor the plain sum of a Dense layer; expected one score per "
            "class, or one sigmoid for two classes. End the model with Dense(1, activation='sigmoid').",
        )


def _check_finite(model: "keras.Model", path: Path) -> None:
    import numpy as np

    for weight in model.weights:
        values = weight.numpy()
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise EdgeError(
                "EF-model-not-finite",
                f"{path}: the weight {weight.path!r} holds NaN or Inf; train the model again, or restore an earlier save.",
            )


def _check_precision(model: "keras.Model", path: Path) -> None:
    for policy in (layer.dtype_policy for layer in _layers(model)):
        if policy.compute_dtype in {"float16", "bfloat16"}:
            raise EdgeError(
                "EF-model-precision",
                f"{path}: computes in {policy.name}; the exporters need 'float32'. Build the model again with the policy "
                "'float32', load these weights into it (model.set_weights) and save that.",
            )
        if policy.quantization_mode:
            raise EdgeError(
                "EF-model-quantized",
                f"{path}: was quantized by Keras ({policy.name}); use the model from before quantization, "
                "since the exporters quantize it for each format.",
            )


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)
