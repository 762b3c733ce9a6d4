# SPDX-License-Identifier: Apache-2.0
"""A Keras classifier from a file, never running code of the file's, and what is wrong with one that cannot be used."""

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

# Keras tells the two kinds of file apart by name.
ZIP_SUFFIXES: Final = (".keras",)
HDF5_SUFFIXES: Final = (".h5", ".hdf5")
HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
ZIP_MAGIC: Final = b"PK\x03\x04"


@lru_cache(maxsize=1)
def classifier(spec: ModelSpec) -> "keras.Model":
    """Return the model a contract names, loaded once a process and checked against the contract.

    Raises:
        EdgeError: it cannot be loaded, or is not the classifier described.
    """
    model = load_model(spec.model)
    check_against(model, spec)
    return model


def load_model(path: Path) -> "keras.Model":
    """Return the Keras model of a ``.keras`` file or a Keras 3 ``.h5`` file, for inference.

    One input or output that the model takes or answers in a dict or list is taken out of it.

    Raises:
        EdgeError: the file is absent, damaged or of another kind, or needs code to load.
    """
    check_file(path)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    if keras.backend.backend() != "tensorflow":
        raise EdgeError(f"Keras runs on {keras.backend.backend()!r} here; unset KERAS_BACKEND, the exporters need 'tensorflow'.")
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as error:
        advice = " Save it as .keras: the older .h5 loses parts of some models." if path.suffix in HDF5_SUFFIXES else ""
        raise EdgeError(f"{path}: Keras {keras.__version__} cannot load it: {_first_words(error)}{advice}") from error
    if not isinstance(model, keras.Model):
        raise EdgeError(f"{path}: holds a {type(model).__name__}, not a whole model; save the model with model.save('my.keras').")
    # A Sequential model that was never built has neither; asking it for them raises.
    inputs, outputs = getattr(model, "inputs", None), getattr(model, "outputs", None)
    if not inputs or not outputs:
        raise EdgeError(f"{path}: does not know its own input; begin the model with keras.Input(shape) and save it again.")
    structured = not isinstance(model, keras.Sequential) and any(
        isinstance(side, dict | list | tuple) for side in (model.input, model.output)
    )
    if structured and len(inputs) == len(outputs) == 1:
        return keras.Model(inputs[0], outputs[0], name=model.name)
    return model


def check_file(path: Path) -> None:
    """Refuse what is not a whole Keras 3 model, before Keras is imported.

    Raises:
        EdgeError: says what the file is instead.
    """
    if not path.exists():
        raise EdgeError(f"{path}: there is no such file; expected a trained Keras model (.keras).")
    if path.is_dir():
        kind = "a SavedModel" if (path / "saved_model.pb").exists() else "a folder"
        raise EdgeError(f"{path}: is {kind}; expected a .keras file. Save the model with model.save('my.keras').")
    if path.stat().st_size == 0:
        raise EdgeError(f"{path}: is empty; expected a trained Keras model (.keras).")
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
            f"{path}: is not a Keras file (it starts with {magic!r}); expected one saved with model.save('my.keras')."
        )


def check_against(model: "keras.Model", spec: ModelSpec) -> None:
    """Refuse a model that is not the image classifier its contract describes.

    Raises:
        EdgeError: more than one input or output, another shape, another number of classes, or weights that are not finite.
    """
    import numpy as np

    inputs, outputs = model.inputs, model.outputs
    for side, tensors in (("input", inputs), ("output", outputs)):
        if len(tensors) != 1:
            names = ", ".join(tensor.name for tensor in tensors)
            raise EdgeError(
                f"{spec.model}: has {len(tensors)} {side}s ({names}); only classifiers with one {side} are supported."
            )
    _check_input(tuple(inputs[0].shape), str(inputs[0].dtype), spec)
    _check_output(tuple(outputs[0].shape), spec)
    for weight in model.weights:
        values = weight.numpy()
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            raise EdgeError(
                f"{spec.model}: the weight {weight.path!r} holds NaN or Inf; train the model again, or restore an earlier save."
            )
    for policy in (layer.dtype_policy for layer in _layers(model)):
        if policy.compute_dtype in {"float16", "bfloat16"}:
            raise EdgeError(
                f"{spec.model}: computes in {policy.name}, which no edge format takes. Build it again with the policy 'float32', "
                "load these weights into it (model.set_weights) and save that."
            )
        if policy.quantization_mode:
            raise EdgeError(
                f"{spec.model}: was quantized by Keras ({policy.name}); name the model before quantization, "
                "the exporters quantize it for each format."
            )


def _check_input(shape: tuple[int | None, ...], dtype: str, spec: ModelSpec) -> None:
    how = spec.preprocessing
    expected = (how.height, how.width, how.channels)
    if len(shape) != 4:
        raise EdgeError(f"{spec.model}: takes {shape}, which is not an image; expected (batch, height, width, channels).")
    if dtype not in {"float32", "uint8"}:
        raise EdgeError(f"{spec.model}: takes {dtype}; expected float32.")
    open_or_same = all(size in {None, wanted} for size, wanted in zip(shape[1:], expected, strict=True))
    if not open_or_same:
        raise EdgeError(f"{spec.path}: input.shape is {list(expected)}, but {spec.model.name} takes {list(shape[1:])}.")


def _check_output(shape: tuple[int | None, ...], spec: ModelSpec) -> None:
    if len(shape) != 2 or shape[1] is None:
        raise EdgeError(f"{spec.model}: answers {shape}, which is not a classifier's output; expected (batch, classes).")
    if shape[1] == 1:
        raise EdgeError(
            f"{spec.model}: answers one number (a sigmoid); expected one score a class. "
            "End it with Dense(2, activation='softmax')."
        )
    if shape[1] != len(spec.labels):
        raise EdgeError(
            f"{spec.path}: model.labels has {len(spec.labels)} labels, {spec.model.name} {shape[1]} classes: "
            f"{'add' if len(spec.labels) < shape[1] else 'remove'} {abs(len(spec.labels) - shape[1])}."
        )


def _check_zip(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
            names = archive.namelist()
            config = json.loads(archive.read("config.json")) if "config.json" in names else None
            version = str(json.loads(archive.read("metadata.json"))["keras_version"]) if "metadata.json" in names else "3"
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, TypeError, KeyError) as error:
        raise EdgeError(f"{path}: is damaged or cut short ({error}); save the model again.") from None
    if damaged:
        raise EdgeError(f"{path}: is damaged ({damaged} has a wrong checksum); save the model again.")
    if config is None:
        raise EdgeError(f"{path}: is a zip file, but not a Keras model (it holds no config.json).")
    _check_config(config, version, path)


def _check_hdf5(path: Path) -> None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version, text = _text(file.attrs.get("keras_version", "3")), file.attrs.get("model_config")
            config = None if text is None else json.loads(text)
    except (OSError, ValueError, TypeError) as error:
        raise EdgeError(f"{path}: is damaged or cut short ({error}); save the model again.") from None
    if config is None:
        raise EdgeError(f"{path}: holds weights only; save the whole model with model.save('my.keras').")
    _check_config(config, version, path)


def _check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix not in suffixes:
        raise EdgeError(f"{path}: is a Keras model, but its name ends in {path.suffix!r}; rename it to {path.stem}{suffixes[0]}.")


def _check_config(config: Any, version: str, path: Path) -> None:
    if not version.startswith("3"):
        raise EdgeError(f"{path}: was saved by Keras {version}; load it with tf_keras and save it again from Keras 3.")
    for each in _classes(config):
        name, module = each["class_name"], each.get("module", "keras")
        if name in {"Lambda", "__lambda__"}:
            held = each.get("config")
            layer = held.get("name") if isinstance(held, dict) else None
            raise EdgeError(f"{path}: the layer {layer!r} is a Lambda, which is code and is not run. Replace it by Keras layers.")
        # Keras's own markers, such as __keras_tensor__, name no class; functions are looked up by name among its own.
        ours = str(name).startswith("__") or (module, name) == ("builtins", "function")
        if not ours and str(module).partition(".")[0] != "keras":
            raise EdgeError(
                f"{path}: uses the class {each.get('registered_name') or f'{module}.{name}'!r}, which is not Keras's own and "
                "is not run. Build the model of Keras layers."
            )


def _classes(config: Any) -> Iterator[dict[str, Any]]:
    """Yield every part that names a class; the loss and the metrics, which are not loaded, left out."""
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


def _first_words(error: Exception) -> str:
    # Keras puts the cause last, after pages of configuration.
    text = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
    unknown = re.search(r"(?:Could not locate (?:class|function)|Could not deserialize|Unknown layer:) '([^']+)'", text)
    if unknown:
        return f"it uses {unknown[1]!r}, which is not Keras's own; build the model of Keras layers."
    if "activation function" in text:
        return "it uses an activation function that is not Keras's own; name one of Keras's, such as 'relu'."
    return text.rstrip(".") + "." if len(text) < 200 else text[:200] + "…"
