# SPDX-License-Identifier: Apache-2.0
"""Loads a Keras classifier without ever running code from its file, and says what is wrong with one that cannot be used."""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.loading import bounds
from edgeferry.models.loading.channel import with_channel
from edgeferry.models.loading.custom_classes import CustomClasses
from edgeferry.models.loading.custom_module import OPTION, imported_classes
from edgeferry.models.loading.facts import check_against
from edgeferry.models.loading.file_check import HDF5_SUFFIXES, check_file
from edgeferry.models.loading.float32 import in_float32
from edgeferry.models.loading.keras2.rebuild import rebuilt
from edgeferry.models.loading.loaded import Loaded
from edgeferry.models.loading.names import with_traceable_names
from edgeferry.models.loading.saved_model import load_saved_model
from edgeferry.models.loading.task import without_preprocessor
from edgeferry.models.loading.two_classes import with_two_classes
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.process.limits import memory_limit

if TYPE_CHECKING:
    import keras

# How native code says that memory is exhausted: TensorFlow's error, C++'s exception.
NO_MEMORY: Final = ("ResourceExhausted", "OOM when allocating", "bad_alloc", "Unable to allocate")


@lru_cache(maxsize=1)
def loaded_classifier(spec: ModelSpec) -> Loaded:
    """Return the model that a config names with what was changed in it, loaded once per process and checked against the config.

    Raises:
        EdgeError: it cannot be loaded, or is not the classifier that the config describes.
    """
    loaded = load(spec.model, spec.code)
    check_against(loaded, spec)
    return loaded


def classifier(spec: ModelSpec) -> "keras.Model":
    """Return the model that a config names, loaded once per process and checked against the config.

    Raises:
        EdgeError: it cannot be loaded, or is not the classifier that the config describes.
    """
    return loaded_classifier(spec).model


def load_model(path: Path, code: str | None = None) -> "keras.Model":
    """Return the Keras model of a file, for inference, in the form that ``load`` brings it into; ``code`` is as there.

    Raises:
        EdgeError: the file is absent, damaged or of another kind, or needs code to load.
    """
    return load(path, code).model


def load(path: Path, code: str | None = None) -> Loaded:
    """Return the model of a ``.keras`` or ``.h5`` file or a SavedModel folder, for inference, and what was changed in it.

    One that Keras 2 saved is built again. A single input or output in a dict or list is taken out of it, other precisions become
    float32, images without a channel get one, one sigmoid becomes two classes, and names that cannot be traced are changed.
    ``code`` is a custom module, which is run: the model may use the classes that it registers, but no Lambda.

    Raises:
        EdgeError: the file is absent, damaged or of another kind, or needs code to load; the custom module cannot be imported.
    """
    if code is None:
        version = check_file(path)
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras

    if keras.backend.backend() != "tensorflow":
        raise EdgeError(
            "EF-keras-backend",
            f"Keras runs on {keras.backend.backend()!r}; the exporters need 'tensorflow'. Unset KERAS_BACKEND.",
        )
    own = {} if code is None else imported_classes(code)
    if code is not None:
        version = check_file(path, CustomClasses(code, {*own, *keras.saving.get_custom_objects()}))
    with _limited(path):
        return _in_form(_saved(path, version, own), path)


@contextmanager
def _limited(path: Path) -> Iterator[None]:
    """Bound the memory that loading takes: a small file can describe layers of any size."""
    try:
        with memory_limit(bounds.loading_bytes(path)):
            yield
    except MemoryError:
        raise _too_large(path) from None
    except Exception as error:
        if any(word in f"{type(error).__name__} {error}" for word in NO_MEMORY):
            raise _too_large(path) from None
        raise


def _too_large(path: Path) -> EdgeError:
    most = bounds.loading_bytes(path) // bounds.MEBIBYTE
    return EdgeError(
        "EF-model-memory",
        f"{path}: loading it takes more than {most} MiB, which is far more than its weights do; expected a model whose layers "
        "have the sizes of its weights. Save the model again.",
    )


def _in_form(read: Loaded, path: Path) -> Loaded:
    import keras

    model = read.model
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
    loaded = replace(read, model=_unstructured(model))
    for form in (without_preprocessor, in_float32, with_channel, with_two_classes, with_traceable_names):
        loaded = form(loaded)
    return loaded


def _saved(path: Path, version: str, own: Mapping[str, Any]) -> Loaded:
    """Return what a file or a SavedModel folder holds, by whichever way it was saved."""
    if path.is_dir():
        return load_saved_model(path)
    return Loaded(_read(path, own)) if version.startswith("3") else rebuilt(path, version)


def _read(path: Path, own: Mapping[str, Any]) -> Any:
    import keras

    try:
        return keras.saving.load_model(path, custom_objects=dict(own), compile=False, safe_mode=True)
    except Exception as error:
        advice = " Save it as .keras: the older .h5 loses parts of some models." if path.suffix in HDF5_SUFFIXES else ""
        raise EdgeError("EF-model-load", f"{path}: Keras {keras.__version__} cannot load it: {_cause(error)}{advice}") from error


def _unstructured(model: "keras.Model") -> "keras.Model":
    """Return a model whose only input and output are tensors, where they are in a dict or list; any other as it is."""
    import keras

    structured = not isinstance(model, keras.Sequential) and any(
        isinstance(side, dict | list | tuple) for side in (model.input, model.output)
    )
    if structured and len(model.inputs) == len(model.outputs) == 1:
        return keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    return model


def _cause(error: Exception) -> str:
    # Keras puts the cause last, after pages of model configuration.
    text = " ".join(str(error).split()).rpartition("Exception encountered: ")[2]
    unknown = re.search(r"(?:Could not locate (?:class|function)|Could not deserialize|Unknown layer:) '([^']+)'", text)
    if unknown:
        return (
            f"it uses {unknown[1]!r}, which is not Keras's own; build the model from Keras layers, or name the file that "
            f"registers it: {OPTION} my_layers.py."
        )
    if "activation function" in text:
        return (
            "it uses an activation function that is not Keras's own; name one of Keras's, such as 'relu', or name the file that "
            f"registers it: {OPTION} my_layers.py."
        )
    return text.rstrip(".") + "." if len(text) < 200 else text[:200] + "…"
