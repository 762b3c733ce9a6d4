# SPDX-License-Identifier: Apache-2.0
"""Classes in a model's file that are not Keras's own: how each is named, and what to do about it."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.models.loading.custom_module import OPTION
from edgeferry.models.system.errors import EdgeError

# Packages of Keras's makers whose classes are registered under their names.
PACKAGES: Final = ("keras_hub", "keras_cv", "keras_nlp")
# What makes a plain Keras model of a classifier of these packages (keras_hub/src/models/image_classifier.py: a functional model
# around a backbone, itself a functional model), as long as all layers in them are Keras's own.
UNWRAP: Final = (
    "plain = lambda part: keras.Model(part.input, part.output) if isinstance(part, keras.Model) else part",
    "keras.models.clone_model(plain(model), clone_function=plain).save('plain.keras')",
)


@dataclass(frozen=True)
class CustomClasses:
    """The names, as Keras registers them, of the classes that are known once a custom module is imported."""

    module: str
    names: Container[str]

    def holds(self, entry: Mapping[str, Any]) -> bool:
        """Return whether the class of an entry of a configuration is one of these, or of the same package.

        Of a package's classes that are not registered, Keras takes layers and the like from keras_hub and keras_cv alone.
        """
        registered = str(entry.get("registered_name") or entry.get("class_name"))
        return registered in self.names or str(entry.get("module")).partition(".")[0] == self.module


def refused_class(entry: Mapping[str, Any], path: Path, own: CustomClasses | None = None) -> EdgeError:
    """Return the error for a class that is not Keras's own; it names the class, and the option that takes code for it.

    ``own`` are the classes of a custom module, among which it is not.
    """
    name, module = str(entry.get("class_name")), str(entry.get("module", ""))
    registered = entry.get("registered_name")
    shown = str(registered or f"{module}.{name}")
    package = package_of(shown, module)
    if package is not None and (own is None or own.module != package):
        return _of_package(package, shown, path)
    scope = shown.partition(">")[0] if ">" in shown else ""
    how = f"@keras.saving.register_keras_serializable({scope!r})" if scope else "@keras.saving.register_keras_serializable()"
    if own is not None:
        return EdgeError(
            "EF-model-custom-class",
            f"{path}: uses the class {shown!r}, which {own.module} does not register; put {how} before the class there.",
        )
    return EdgeError(
        "EF-model-custom-class",
        f"{path}: uses the class {shown!r}, which is not Keras's own and is not run. If you trust its code, name the Python file "
        f"that defines it, with {how} before the class: {OPTION} my_layers.py. Else build the model from Keras layers.",
    )


def refused_lambda(entry: Mapping[str, Any], path: Path) -> EdgeError:
    """Return the error for a Lambda layer; it says the risk and the way out."""
    held = entry.get("config")
    layer = held.get("name") if isinstance(held, dict) else None
    return EdgeError(
        "EF-model-lambda",
        f"{path}: the layer {layer!r} is a Lambda: Python code inside the file, which could do anything with your rights and is "
        "never run. Replace it by Keras layers, or write it as a class of its own that is registered, save the model again and "
        f"name the class's file: {OPTION} my_layers.py.",
    )


def package_of(registered: str, module: str = "") -> str | None:
    """Return which of Keras's makers' packages a class belongs to, or None."""
    found = {registered.partition(">")[0], module.partition(".")[0]} & set(PACKAGES)
    return found.pop() if found else None


def _of_package(package: str, shown: str, path: Path) -> EdgeError:
    return EdgeError(
        "EF-model-custom-class",
        f"{path}: uses the class {shown!r} of {package}, whose code is run only where you say so: install {package} here and add "
        f"{OPTION} {package}. Or, where all its layers are Keras's own, save it as a plain Keras model with two "
        f"lines: {UNWRAP[0]}; {UNWRAP[1]}",
    )
