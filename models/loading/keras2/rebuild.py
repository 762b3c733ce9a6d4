# SPDX-License-Identifier: Apache-2.0
"""A model file of Keras 2 as a Keras 3 model: built again from its configuration, with the weights of the file."""

import io
import json
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.loading.keras2.graph import model_of
from edgeferry.models.loading.keras2.hdf5_weights import GROUP, load_hdf5_weights
from edgeferry.models.loading.keras2.proof import Proof
from edgeferry.models.loading.keras2.zip_weights import load_zip_weights
from edgeferry.models.loading.loaded import Change, Loaded

if TYPE_CHECKING:
    import keras

WEIGHTS: Final = "model.weights.h5"


def rebuilt(path: Path, version: str) -> Loaded:
    """Return the model of a file that Keras 2 saved, all of its weights loaded and proven; ``version`` is Keras's, for the note.

    Raises:
        EdgeError: the model uses something that Keras 3 has not, or its weights do not fit its configuration.
    """
    proof = Proof(str(path))
    model = _from_zip(path, proof) if zipfile.is_zipfile(path) else _from_hdf5(path, proof)
    count = sum(1 for each in model.weights if proof.is_weight(each))
    note = f"was saved by Keras {version} and is built again in Keras 3, with each of its {count} weights"
    return Loaded(model, (Change("model-keras-2", note),))


def _from_hdf5(path: Path, proof: Proof) -> "keras.Model":
    import h5py

    with h5py.File(path, "r") as file:
        model = model_of(json.loads(file.attrs["model_config"]), str(path))
        load_hdf5_weights(model, file, proof)
        proof.check_whole(model, file[GROUP])
    return model


def _from_zip(path: Path, proof: Proof) -> "keras.Model":
    import h5py

    with zipfile.ZipFile(path) as archive:
        entry: dict[str, Any] = json.loads(archive.read("config.json"))
        weights = io.BytesIO(archive.read(WEIGHTS))
    model = model_of(entry, str(path))
    with h5py.File(weights, "r") as file:
        load_zip_weights(model, entry, file, proof)
        proof.check_whole(model, _layers_of(file))
    return model


def _layers_of(file: Any) -> Any:
    """Return the group of the layers; next to it are an optimizer's."""
    return next((file[name] for name in ("layers", "_layer_checkpoint_dependencies") if name in file), file)
