# SPDX-License-Identifier: Apache-2.0
"""A classifier of keras_hub as its network alone: such a model's predict() also prepares images, its graph does not."""

from dataclasses import replace
from typing import Final

from edgeferry.models.loading.custom_classes import package_of
from edgeferry.models.loading.loaded import Change, Loaded

CODE: Final = "model-preprocessor"


def without_preprocessor(loaded: Loaded) -> Loaded:
    """Return the network of a model whose class is of keras_hub or keras_cv; any other as it is."""
    import keras

    model = loaded.model
    if package_of("", type(model).__module__) is None:
        return loaded
    network = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    preprocessor = getattr(model, "preprocessor", None)
    if preprocessor is None:
        return replace(loaded, model=network)
    note = f"has a {type(preprocessor).__name__}, which is no part of its network and is left out: [input] has to do what it does"
    return replace(loaded, model=network, changes=(*loaded.changes, Change(CODE, note)))
