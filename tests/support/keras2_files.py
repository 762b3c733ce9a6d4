# SPDX-License-Identifier: Apache-2.0
"""Files as Keras 2 writes them, made by hand: the configuration as JSON, the weights in its groups and under its names."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# The weights of each layer of a model, under Keras 2's names, such as 'dense/kernel:0'.
Weights = Mapping[str, "Mapping[str, NDArray[np.generic]]"]


def entry(kind: str, name: str, *nodes: Any, **options: Any) -> dict[str, Any]:
    """Return a layer of a configuration; each of ``nodes`` is one call of it."""
    config = {"name": name, "trainable": True, "dtype": "float32", **options}
    return {"class_name": kind, "config": config, "name": name, "inbound_nodes": list(nodes)}


def image(shape: Sequence[int], name: str = "image") -> dict[str, Any]:
    """Return an input layer for images of a shape."""
    config = {"batch_input_shape": [None, *shape], "dtype": "float32", "sparse": False, "ragged": False, "name": name}
    return {"class_name": "InputLayer", "config": config, "name": name, "inbound_nodes": []}


def after(*names: str, number: int = 0, **options: Any) -> list[Any]:
    """Return one call of a layer with the outputs of others; ``number`` is which call of those."""
    return [[name, number, 0, options] for name in names]


def sequential(name: str, *layers: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Return a Sequential model."""
    plain = [{key: each[key] for key in ("class_name", "config")} for each in layers]
    return {"class_name": "Sequential", "config": {"name": name, "layers": plain}, "name": name, **options}


def functional(name: str, layers: Sequence[dict[str, Any]], output: str, *nodes: Any) -> dict[str, Any]:
    """Return a Functional model from its first layer to the named one."""
    config = {
        "name": name,
        "layers": list(layers),
        "input_layers": [[layers[0]["name"], 0, 0]],
        "output_layers": [[output, 0, 0]],
    }
    return {"class_name": "Functional", "config": config, "name": name, "inbound_nodes": list(nodes)}


def write_hdf5(path: Path, model: dict[str, Any], weights: Weights, version: str = "2.4.0") -> Path:
    """Write a model as Keras 2's ``model.save('my.h5')`` does, and return the path."""
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = version, "tensorflow"
        file.attrs["model_config"] = json.dumps(model)
        groups = file.create_group("model_weights")
        names = [each["config"]["name"] for each in model["config"]["layers"]]
        groups.attrs["layer_names"] = [name.encode() for name in names]
        for each in names:
            group, arrays = groups.create_group(each), weights.get(each, {})
            group.attrs["weight_names"] = [name.encode() for name in arrays]
            for name, array in arrays.items():
                group[name] = array
    return path


def write_zip(path: Path, model: dict[str, Any], groups: "Mapping[str, Sequence[NDArray[np.generic]]]") -> Path:
    """Write a model as Keras 2.15's ``model.save('my.keras')`` does; ``groups`` holds the weights of each group of layers."""
    whole = io.BytesIO()
    with h5py.File(whole, "w") as file:
        for name, arrays in groups.items():
            for at, array in enumerate(arrays):
                file[f"{name}/vars/{at}"] = array
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "2.15.0", "date_saved": "2024-01-01@00:00:00"}))
        archive.writestr("config.json", json.dumps(model))
        archive.writestr("model.weights.h5", whole.getvalue())
    return path
