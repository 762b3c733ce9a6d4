# SPDX-License-Identifier: Apache-2.0
"""A Keras classifier from a file, never running code of the file's, and what is wrong with one that cannot be used."""

import json
import os
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models.errors import EdgeError
from models.spec import ModelSpec

if TYPE_CHECKING:
    import keras

KERAS_SUFFIXES: Final = (".keras", ".h5", ".hdf5")
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
        raise EdgeError(f"{path}: Keras {keras.__version__} cannot load it: {_first_words(error)}") from error
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
        _check_hdf5(path)
    elif magic.startswith(ZIP_MAGIC):
        _check_zip(path)
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

    inputs, outputs = _tensors(model.inputs), _tensors(model.outputs)
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
    policies = sorted(
        {layer.dtype_policy.name for layer in model._flatten_layers() if layer.dtype_policy.name.startswith("mixed")}
    )
    if policies:
        raise EdgeError(
            f"{spec.model}: computes in {policies[0]}, which no edge format takes. Build it again with the policy 'float32', "
            "load these weights into it (model.set_weights) and save that."
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
            f"{spec.model}: answers one number (a sigmoid); expected one score a class. End it with Dense(2, activation='softmax')."
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
            metadata = json.loads(archive.read("metadata.json")) if "metadata.json" in names else {}
    except (zipfile.BadZipFile, EOFError, ValueError) as error:
        raise EdgeError(f"{path}: is damaged or cut short ({error}); save the model again.") from None
    if damaged:
        raise EdgeError(f"{path}: is damaged ({damaged} has a wrong checksum); save the model again.")
    if config is None:
        raise EdgeError(f"{path}: is a zip file, but not a Keras model (it holds no config.json).")
    version = str(metadata.get("keras_version", "3"))
    if not version.startswith("3"):
        raise EdgeError(f"{path}: was saved by Keras {version}; load it with tf_keras and save it again from Keras 3.")
    _refuse_lambda(config, path)


def _check_hdf5(path: Path) -> None:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            version, config = str(file.attrs.get("keras_version", "3")), file.attrs.get("model_config")
    except OSError as error:
        raise EdgeError(f"{path}: is damaged or cut short ({error}); save the model again.") from None
    if config is None:
        raise EdgeError(f"{path}: holds weights only; save the whole model with model.save('my.keras').")
    if not version.startswith("3"):
        raise EdgeError(f"{path}: was saved by Keras {version}; load it with tf_keras and save it again from Keras 3.")
    _refuse_lambda(json.loads(config), path)


def _refuse_lambda(config: Any, path: Path) -> None:
    if isinstance(config, dict):
        if config.get("class_name") == "Lambda":
            name = config.get("config", {}).get("name", "?")
            raise EdgeError(f"{path}: the layer {name!r} is a Lambda, which is code and is not run. Replace it by Keras layers.")
        for value in config.values():
            _refuse_lambda(value, path)
    elif isinstance(config, list):
        for value in config:
            _refuse_lambda(value, path)


def _tensors(structure: Any) -> list[Any]:
    if isinstance(structure, dict):
        return list(structure.values())
    return list(structure) if isinstance(structure, list | tuple) else [structure]


def _first_words(error: Exception) -> str:
    import re

    text = " ".join(str(error).split())
    unknown = re.search(r"Could not locate class '([^']+)'", text)
    if unknown:
        return f"it uses the class {unknown[1]!r}, which is not Keras's own; build the model of Keras layers."
    return text[:200] + ("…" if len(text) > 200 else "")
