# SPDX-License-Identifier: Apache-2.0
"""The networks of keras.applications, with the ImageNet weights that are on this machine already; nothing is downloaded."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any, Final

from edgeferry.models.named.named import Named
from edgeferry.models.system.errors import EdgeError

# keras/src/applications of Keras 3.15; a test holds the list against the installed Keras.
NAMES: Final = (
    *("ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtSmall", "ConvNeXtTiny", "ConvNeXtXLarge"),
    *("DenseNet121", "DenseNet169", "DenseNet201"),
    *(f"EfficientNetB{number}" for number in range(8)),
    *("EfficientNetV2B0", "EfficientNetV2B1", "EfficientNetV2B2", "EfficientNetV2B3"),
    *("EfficientNetV2L", "EfficientNetV2M", "EfficientNetV2S"),
    *("InceptionResNetV2", "InceptionV3", "MobileNet", "MobileNetV2", "MobileNetV3Large", "MobileNetV3Small"),
    *("NASNetLarge", "NASNetMobile", "ResNet101", "ResNet101V2", "ResNet152", "ResNet152V2", "ResNet50", "ResNet50V2"),
    *("VGG16", "VGG19", "Xception"),
)
HASHES: Final = {32: "md5", 64: "sha256"}


def make(name: str, file: Path, _images: Path | None) -> None:
    """Write a network with its ImageNet weights to a file.

    Raises:
        EdgeError: the weights are not on this machine, or damaged.
    """
    import keras
    from keras.src.utils import file_utils

    fetched = file_utils.get_file
    # Keras has no public way to load weights that are there without downloading those that are not.
    file_utils.get_file = partial(_there, name)
    try:
        model = getattr(keras.applications, name)(weights="imagenet")
    finally:
        file_utils.get_file = fetched
    model.save(file)


def _there(name: str, fname: str, origin: str = "", cache_subdir: str = "models", **options: Any) -> str:
    """Return the file that Keras asks for, as ``keras.utils.get_file`` does, where it is on this machine and whole.

    Raises:
        EdgeError: it is not.
    """
    from keras.src.backend import config

    file = Path(config.keras_home()) / cache_subdir / fname
    if not file.is_file():
        raise EdgeError(
            "EF-weights-missing",
            f"{name} needs the weights {fname} at {file}, and there is no such file. Keras puts it there when it loads the model "
            f"where there is a network (keras.applications.{name}()); nothing is downloaded here. It comes from {origin}.",
        )
    expected = options.get("file_hash") or options.get("md5_hash") or ""
    kind = HASHES.get(len(expected))
    if kind and (found := hashlib.new(kind, file.read_bytes()).hexdigest()) != expected:
        raise EdgeError("EF-weights-damaged", f"{file} has the {kind} {found}, not {expected}: remove it and get it again.")
    return str(file)


NAMED: Final = tuple(
    Named(
        name,
        f"{name} of keras.applications, with the ImageNet weights that Keras keeps on this machine",
        f"loading {name} of keras.applications",
        partial(make, name),
    )
    for name in NAMES
)
