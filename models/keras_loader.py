# SPDX-License-Identifier: Apache-2.0
"""Loads a Keras classifier without ever running code from its file, and says what is wrong with one that cannot be used."""

import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import keras

# Keras recognises the two kinds of file by their suffix.
ZIP_SUFFIXES: Final = (".keras",)
HDF5_SUFFIXES: Final = (".h5", ".hdf5")
HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC: Final = b"PK\x03\x04"


@lru_cache(maxsize=1)
def classifier(spec: ModelSpec) -> "keras.Model":
    """Return the model that a config names, loaded once per process and checked against the config.

    Raises:
        EdgeError: it cannot be loaded, or is not the classifier that the config describes.
    """
    model = load_model(spec.model)
    check_against(model, spec)
    return model


def load_model(path: Path) -> "keras.Model":
    """Return the Keras model of a ``.keras`` file or a Keras 3 ``.h5`` file, for inference.

    A single input or output in a dict or list is taken out of it.

    Raises:
        EdgeError: the file is absent, damaged or of another kind, or needs code to load.
    """
    check_file(path)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    if keras.backend.backend() != "tensorflow":
        raise EdgeError(
            "EF-keras-backend",
            f"Keras runs on {keras.backend.backend()!r}; the exporters need 'tensorflow'. Unset KERAS_BACKEND.",
        )
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        advice = " Save it as .keras: the older .h5 loses parts of some models." if path.suffix in HDF5_SUFFIXES else ""
        raise EdgeError("EF-model-load", f"{path}: Keras {keras.__version__} cannot load it: {_cause(error)}{advice}") from error
    if not isinstance(model, keras.Model):
        raise EdgeError(
            "EF-model-incomplete",
            f"{path}: holds a {type(model).__name__}, not a whole model; save the model with model.save('my.keras').",
        )
    # A Sequential model that was never built has neither; reading its attributes raises.
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise EdgeError(
            "EF-model-not-built", f"{path}: has no defined input; begin the model with keras.Input(shape) and save it again."
        )
    structured = not isinstance(model, keras.Sequential) and any(
        isinstance(side, dict | list | tuple) for side in (model.input, model.output)
    )
    if structured and len(inputs) == len(outputs) == 1:
        return keras.Model(inputs[0], outputs[0], name=model.name)
    return model


def check_file(path: Path) -> None:
    """Refuse a file that is not a whole Keras 3 model, before Keras is imported.

    Raises:
        EdgeError: the message names what the file is instead.
    """
    if not path.exists():
        raise EdgeError("EF-model-missing", f"{path}: there is no such file; expected a trained Keras model (.keras).")
    if path.is_dir():
        kind = "a SavedModel" if (path / "saved_model.pb").exists() else "a folder"
        raise EdgeError(
            "EF-model-file-kind", f"{path}: is {kind}; expected a .keras file. Save the model with model.save('my.keras')."
        )
    if path.stat().st_size == 0:
        raise EdgeError("EF-model-damaged", f"{path}: is empty; expected a trained Keras model (.keras).")
    with path.open("rb") as file:
        magic = file.read(8)
    if magic == HDF5_MAGIC:
        _check_suffix(path, HDF5_SUFFIXES)
        _check_hdf5(path)
    elif magic.startswith(ZIP_MAGIC):
        _check_zip(path)
        _check_suffix(path, ZIP_SUFFIXES)
    else:
        raise EdgeError(
            "EF-model-file-kind",
            f"{path}: is not a Keras file (it starts with {magic!r}); expected one saved with model.save('my.keras').",
        )


def check_against(model: "keras.Model", spec: ModelSpec) -> None:
    """Refuse a model that is not the image classifier its config describes.

    Raises:
        EdgeError: it has several inputs or outputs, another shape, another number of classes, weights that are not finite, or a
            precision that no edge format has.
    """
    import numpy as np

    inputs, outputs = model.inputs, model.outputs
    for side, tensors in (("input", inputs), ("output", outputs)):
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors)
            raise EdgeError(
                "EF-model-tensor-count",
                f"{spec.model}: has {len(tensors)} {side}s ({names}); only classifiers with one {side} are supported.",
            )
    _check_input(tuple(inputs[0].shape), str(inputs[0].dtype), spec)
    _check_output(tuple(outputs[0].shape), spec)
    for weight in model.weights:
        values = weight.numpy()
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise EdgeError(
                "EF-model-not-finite",
                f"{spec.model}: the weight {weight.path!r} holds NaN or Inf; train the model again, or restore an earlier save.",
            )
    _check_precision(model, spec)


def _check_precision(model: Any, spec: ModelSpec) -> None:
    for policy in (layer.dtype_policy for layer in _layers(model)):
        if policy.compute_dtype in {"float16", "bfloat16"}:
            raise EdgeError(
                "EF-model-precision",
                f"{spec.model}: computes in {policy.name}; the exporters need 'float32'. Build the model again with the policy "
                "'float32', load these weights into it (model.set_weights) and save that.",
            )
        if policy.quantization_mode:
            raise EdgeError(
                "EF-model-quantized",
                f"{spec.model}: was quantized by Keras ({policy.name}); use the model from before quantization, "
                "since the exporters quantize it for each format.",
            )


def _check_input(shape: tuple[int | None, ...], dtype: str, spec: ModelSpec) -> None:
    how = spec.preprocessing
    expected = (how.height, how.width, how.channels)
    if len(shape) != 4:
        raise EdgeError(
            "EF-model-input", f"{spec.model}: takes {shape}, which is not an image; expected (batch, height, width, channels)."
        )
    if dtype not in {"float32", "uint8"}:
        raise EdgeError("EF-model-input", f"{spec.model}: takes {dtype}; expected float32 or uint8.")
    open_or_same = all(size in {None, wanted} for size, wanted in zip(shape[1:], expected, strict=True))
    if not open_or_same:
        raise EdgeError(
            "EF-input-shape", f"{spec.path}: input.shape is {list(expected)}, but {spec.model.name} takes {list(shape[1:])}."
        )


def _check_output(shape: tuple[int | None, ...], spec: ModelSpec) -> None:
    if len(shape) != 2 or shape[1] is None:
        raise EdgeError(
            "EF-model-output", f"{spec.model}: outputs {shape}, which is not a classifier's output; expected (batch, classes)."
        )
    if shape[1] == 1:
        raise EdgeError(
            "EF-model-output",
            f"{spec.model}: outputs one number (a sigmoid); expected one score per class. "
            "End the model with Dense(2, activation='softmax').",
        )
    if shape[1] != len(spec.labels):
        raise EdgeError(
            "EF-label-count",
            f"{spec.path}: model.labels has {len(spec.labels)} labels, but {spec.model.name} has {shape[1]} classes: "
            f"{'add' if len(spec.labels) < shape[1] else 'remove'} {abs(len(spec.labels) - shape[1])}.",
        )


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            names = archive.namelist()
            config = json.loads(archive.read("config.json")) if "config.json" in names else None
            version = str(json.loads(archive.read("metadata.json"))["keras_version"]) if "metadata.json" in names else "3"
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise EdgeError("EF-model-damaged", f"{path}: is damaged or cut short ({error}); save the model again.") from None
    if damaged:
        raise EdgeError("EF-model-damaged", f"{path}: is damaged ({damaged} has a wrong checksum); save the model again.")
    if config is None:
        raise EdgeError(
            "EF-model-file-kind",
            f"{path}: is a zip file without config.json, so not a Keras model; expected one saved with model.save('my.keras').",
        )
    _check_config(config, version, path)


def _check_hdf5(path: Path) -> None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version, text = _text(file.attrs.get("keras_version", "3")), file.attrs.get("model_config")
            config = None if text is None else json.loads(text)
    except (OSError, ValueError, TypeError) as error:
        raise EdgeError("EF-model-damaged", f"{path}: is damaged or cut short ({error}); save the model again.") from None
    if config is None:
        raise EdgeError("EF-model-incomplete", f"{path}: holds weights only; save the whole model with model.save('my.keras').")
    _check_config(config, version, path)


def _check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix not in suffixes:
        raise EdgeError(
            "EF-model-suffix",
            f"{path}: is a Keras model, but its name ends in {path.suffix!r}; rename it to {path.stem}{suffixes[0]}.",
        )


def _check_config(config: Any, version: str, path: Path) -> None:
    if not version.startswith("3"):
        raise EdgeError(
            "EF-model-keras-2",
            f"{path}: was saved by Keras {version}; expected Keras 3. Load it with tf_keras and save it again from Keras 3.",
        )
    for each in _classes(config):
        name, module = each["class_name"], each.get("module", "keras")
        if name in {"Lambda", "__lambda__"}:
            held = each.get("config")
            layer = held.get("name") if isinstance(held, dict) else None
            raise EdgeError(
                "EF-model-lambda",
                f"{path}: the layer {layer!r} is a Lambda, which is code and is not run. Replace it by Keras layers.",
            )
        # Keras's own markers, such as __keras_tensor__, are no classes; functions are looked up among Keras's own by name.
        known = str(name).startswith("__") or (module, name) == ("builtins", "function")
        if not known and str(module).partition(".")[0] != "keras":
            raise EdgeError(
                "EF-model-custom-class",
                f"{path}: uses the class {each.get('registered_name') or f'{module}.{name}'!r}, which is not Keras's own and "
                "is not run. Build the model from Keras layers.",
            )


def _classes(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every part that names a class, except the loss and the metrics, which are not loaded."""
    if isinstance(config, dict):
        if "class_name" in config:
            yield config
        for key, value in config.items():
            if key != "compile_config":
                yield from _classes(value)
    elif isinstance(config, list):
        for value in config:
            yield from _classes(value)


def _layers(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        yield layer
        if hasattr(layer, "layers"):
            yield from _layers(layer)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _cause(error: Exception) -> str:
    # Keras puts the cause last, after pages of model configuration.
    text = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
    unknown = re.search(r"(?:Could not locate (?:class|function)|Could not deserialize|Unknown layer:) '([^']+)'", text)
    if unknown:
        return f"it uses {unknown[1]!r}, which is not Keras's own; build the model from Keras layers."
    if "activation function" in text:
        return "it uses an activation function that is not Keras's own; name one of Keras's, such as 'relu'."
    return text.rstrip(".") + "." if len(text) < 200 else text[:200] + "…"
