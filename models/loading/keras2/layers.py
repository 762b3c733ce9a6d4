# SPDX-License-Identifier: Apache-2.0
"""One layer of a Keras 2 configuration as a layer of Keras 3; what is for training alone is left out.

Options that Keras 3 has not are refused unless they hold what Keras 3 does anyway. No class is looked up outside of keras.layers.
"""

import inspect
from collections.abc import Mapping
from typing import Any, Final

from edgeferry.models.system.errors import EdgeError

# Layers that do nothing at inference; several of them are gone in Keras 3, or hold the state of a random generator.
TRAINING_ONLY: Final = frozenset(
    {
        *("ActivityRegularization", "AlphaDropout", "Dropout", "GaussianDropout", "GaussianNoise"),
        *("SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D"),
        *("RandomBrightness", "RandomContrast", "RandomFlip", "RandomHeight", "RandomRotation", "RandomTranslation"),
        *("RandomWidth", "RandomZoom"),
    }
)
RENAMED: Final[Mapping[str, str]] = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
}
OPTIONS_RENAMED: Final[Mapping[str, Mapping[str, str]]] = {
    "LeakyReLU": {"alpha": "negative_slope"},
    "ThresholdedReLU": {"theta": "threshold"},
}
# Keras 3's own layers that run code, or another framework.
NEVER: Final = frozenset({"FlaxLayer", "JaxLayer", "Lambda", "TFSMLayer", "TorchModuleWrapper", "Wrapper", "Layer"})
# What inference does not depend on.
LEFT_OUT: Final = frozenset(
    {
        *("dtype", "batch_input_shape", "batch_shape", "input_shape", "input_dtype", "sparse", "ragged", "autocast"),
        *("implementation", "fused", "momentum", "seed", "dropout", "recurrent_dropout", "unit_forget_bias"),
        *("query_shape", "key_shape", "value_shape", "synchronized", "zero_output_for_mask", "noise_shape", "input_length"),
    }
)
LAYER_SCALE: Final = "LayerScale"
TRAINING_SUFFIXES: Final = ("_initializer", "_regularizer", "_constraint")
ACTIVATIONS: Final = ("activation", "recurrent_activation")
INNER: Final = ("layer", "backward_layer", "cell")


def layer_of(name: str, options: dict[str, Any], where: str) -> Any:
    """Return a layer of Keras 3 for a class of Keras 2 and its configuration; ``where`` names the file, for errors.

    Raises:
        EdgeError: the class is not Keras's own, or has an option that Keras 3 cannot honour.
    """
    import keras

    own = str(options.get("name", name))
    if name in TRAINING_ONLY:
        return keras.layers.Identity(name=own.replace("/", "_"))
    kind = getattr(keras.layers, RENAMED.get(name, name), None) if name != LAYER_SCALE else _layer_scale()
    if not (inspect.isclass(kind) and issubclass(kind, keras.layers.Layer)) or kind.__name__ in NEVER:
        raise EdgeError(
            "EF-model-custom-class",
            f"{where}: uses the class {name!r} (the layer {own!r}), which Keras 3 has not and which is not run. "
            "Build the model from Keras layers.",
        )
    taken = {**_taken(name, kind, options, where), "name": own.replace("/", "_")}
    taken |= {key: _activation(taken[key], own, where) for key in ACTIVATIONS if key in taken}
    taken |= {key: _inner(taken[key], where) for key in INNER if isinstance(taken.get(key), dict)}
    try:
        layer: Any = kind(**taken)
    except (TypeError, ValueError) as error:
        raise _refused(where, f"the layer {own!r} ({name}) cannot be built: {' '.join(str(error).split())[:200]}") from None
    layer.trainable = bool(options.get("trainable", True))
    return layer


def _layer_scale() -> Any:
    """Return the layer of ConvNeXt that multiplies each channel by a weight, which Keras keeps with its networks."""
    from keras.src.applications.convnext import LayerScale

    return LayerScale


def _taken(name: str, kind: type, options: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the options that Keras 3's class takes."""
    accepted = set(inspect.signature(kind.__init__).parameters) - {"self", "kwargs"}  # type: ignore[misc]
    renamed = OPTIONS_RENAMED.get(name, {})
    taken: dict[str, Any] = {}
    for key, value in options.items():
        new = renamed.get(key, key)
        if key in LEFT_OUT or key in {"name", "trainable"} or key.endswith(TRAINING_SUFFIXES):
            continue
        if new in accepted:
            taken[new] = value
        elif value not in (None, False, 1) and not _is_default(key, value):
            raise _refused(where, f"the layer {options.get('name')!r} has the option {key} = {value!r}, which Keras 3 has not")
    axis = taken.get("axis")
    if isinstance(axis, list) and len(axis) == 1:
        taken["axis"] = axis[0]
    return taken


def _is_default(key: str, value: Any) -> bool:
    return key in {"renorm_momentum", "renorm_clipping", "adjustment"} or value in ([], {}, "auto")


def _activation(value: Any, layer: str, where: str) -> Any:
    import keras

    if isinstance(value, dict):
        inner = value.get("config")
        value = inner if isinstance(inner, str) else value.get("registered_name") or value.get("class_name")
    if value is None or value == "linear":
        return None if value is None else "linear"
    if value == "hard_sigmoid":
        return _hard_sigmoid
    known = getattr(keras.activations, str(value), None) if isinstance(value, str) else None
    if value == "swish":
        return keras.activations.silu
    if not inspect.isfunction(known) or value in {"get", "serialize", "deserialize"}:
        raise _refused(where, f"the layer {layer!r} has the activation {value!r}, which Keras 3 has not")
    return known


def _hard_sigmoid(x: Any) -> Any:
    """Return Keras 2's hard_sigmoid: clip(x / 5 + 1 / 2); Keras 3's of this name is clip(x / 6 + 1 / 2)."""
    import keras

    return keras.ops.clip(x * 0.2 + 0.5, 0.0, 1.0)


def _inner(config: dict[str, Any], where: str) -> Any:
    name, options = config.get("class_name"), config.get("config")
    if not isinstance(name, str) or not isinstance(options, dict):
        raise _refused(where, "a layer inside of another has no class")
    return layer_of(name, options, where)


def _refused(where: str, problem: str) -> EdgeError:
    return EdgeError(
        "EF-model-keras-2", f"{where}: cannot be built again in Keras 3: {problem}. Save the model again from Keras 3."
    )
