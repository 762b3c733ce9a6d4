# SPDX-License-Identifier: Apache-2.0
"""Says what is wrong with a file that is no whole Keras model, or that would run code, before Keras is imported."""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from edgeferry.models.loading import bounds
from edgeferry.models.loading.custom_classes import CustomClasses, refused_class, refused_lambda
from edgeferry.models.system.errors import EdgeError

# Keras recognises the two kinds of file by their suffix.
ZIP_SUFFIXES: Final = (".keras",)
HDF5_SUFFIXES: Final = (".h5", ".hdf5")
HDF5_MAGIC: Final = b"\x89HDF\r\n\x1a\n"
# What reading a damaged file raises; RuntimeError: it is encrypted, RecursionError: it is nested without end,
# SystemError: h5py's own.
DAMAGES: Final = (
    *(zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError, TypeError, KeyError, RecursionError),
    SystemError,
)
# The packages whose classes are Keras's own; tf_keras is Keras 2.
KERAS: Final = ("keras", "tf_keras")
# Classes of the TensorFlow Model Optimization toolkit.
TFMOT: Final = "Vis>Quantize"
SAVED_MODEL: Final = "saved_model.pb"
ZIP_MAGIC: Final = b"PK\x03\x04"


def check_file(path: Path, own: CustomClasses | None = None) -> str:
    """Return the version of Keras that saved a model, '' for a SavedModel; refuse a file that is not whole, without Keras.

    ``own`` are the classes that a custom module brings.

    Raises:
        EdgeError: the message names what the file is instead.
    """
    if not path.exists():
        raise EdgeError("EF-model-missing", f"{path}: there is no such file; expected a trained Keras model (.keras).")
    if (path / SAVED_MODEL).is_file():
        return ""
    if path.is_dir():
        raise EdgeError(
            "EF-model-file-kind",
            f"{path}: is a folder without {SAVED_MODEL}; expected a SavedModel folder or a .keras file. Save the model with "
            "model.save('my.keras').",
        )
    if not path.is_file():
        raise EdgeError(
            "EF-model-file-kind", f"{path}: is no file but a pipe or a device; expected a trained Keras model (.keras)."
        )
    if path.stat().st_size == 0:
        raise EdgeError("EF-model-damaged", f"{path}: is empty; expected a trained Keras model (.keras).")
    with path.open("rb") as file:
        magic = file.read(8)
    if magic == HDF5_MAGIC:
        _check_suffix(path, HDF5_SUFFIXES)
        return _check_hdf5(path, own)
    if magic.startswith(ZIP_MAGIC):
        version = _check_zip(path, own)
        _check_suffix(path, ZIP_SUFFIXES)
        return version
    raise EdgeError(
        "EF-model-file-kind",
        f"{path}: is not a Keras file (it starts with {magic!r}); expected one saved with model.save('my.keras').",
    )


def _check_zip(path: Path, own: CustomClasses | None) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            bounds.check_zip(archive, path)
            damaged = archive.testzip()
            names = archive.namelist()
            config = json.loads(archive.read("config.json")) if "config.json" in names else None
            version = str(json.loads(archive.read("metadata.json"))["keras_version"]) if "metadata.json" in names else "3"
            _check_weights(archive, path)
    except DAMAGES as error:
        raise EdgeError("EF-model-damaged", f"{path}: is damaged or cut short ({error}); save the model again.") from None
    if damaged:
        raise EdgeError("EF-model-damaged", f"{path}: is damaged ({damaged} has a wrong checksum); save the model again.")
    if config is None:
        raise EdgeError(
            "EF-model-file-kind",
            f"{path}: is a zip file without config.json, so not a Keras model; expected one saved with model.save('my.keras').",
        )
    _check_config(config, path, own)
    return _version(version)


def _check_weights(archive: zipfile.ZipFile, path: Path) -> None:
    """Refuse weights in a zip file that are too large when unpacked; whether they fit the model is for Keras to say."""
    import h5py

    for each in archive.infolist():
        if each.filename.endswith(HDF5_SUFFIXES):
            with h5py.File(io.BytesIO(archive.read(each)), "r") as file:
                bounds.check_hdf5(file, each.compress_size, path)


def _check_hdf5(path: Path, own: CustomClasses | None) -> str:
    import h5py

    try:
        with h5py.File(path, "r") as file:
            bounds.check_hdf5(file, path.stat().st_size, path)
            version, text = _text(file.attrs.get("keras_version", "3")), file.attrs.get("model_config")
            config = None if text is None else json.loads(text)
    except DAMAGES as error:
        raise EdgeError("EF-model-damaged", f"{path}: is damaged or cut short ({error}); save the model again.") from None
    if config is None:
        raise EdgeError("EF-model-incomplete", f"{path}: holds weights only; save the whole model with model.save('my.keras').")
    _check_config(config, path, own)
    return _version(version)


def _version(text: str) -> str:
    """Return a version as a file states it, without anything that is none: it is printed."""
    found = re.match(r"[0-9][0-9A-Za-z.+-]{0,20}", text)
    return found[0] if found else "2"


def _check_suffix(path: Path, suffixes: tuple[str, ...]) -> None:
    if path.suffix not in suffixes:
        raise EdgeError(
            "EF-model-suffix",
            f"{path}: is a Keras model, but its name ends in {path.suffix!r}; rename it to {path.stem}{suffixes[0]}.",
        )


def _check_config(config: Any, path: Path, own: CustomClasses | None) -> None:
    for each in _classes(config):
        name, module = each["class_name"], each.get("module", "keras")
        if str(each.get("registered_name")).startswith(TFMOT) or str(name).startswith(TFMOT):
            raise EdgeError(
                "EF-model-quantized",
                f"{path}: was prepared for quantization by tfmot ({name}); use the model from before quantize_model or "
                "quantize_apply, since the exporters quantize it for each format.",
            )
        if name in {"Lambda", "__lambda__"}:
            raise refused_lambda(each, path)
        # Keras's own markers, such as __keras_tensor__, are no classes; functions are looked up among Keras's own by name.
        known = str(name).startswith("__") or (module, name) == ("builtins", "function")
        if not known and str(module).partition(".")[0] not in KERAS and (own is None or not own.holds(each)):
            raise refused_class(each, path, own)


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


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
