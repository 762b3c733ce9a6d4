# SPDX-License-Identifier: Apache-2.0
"""The weights of a Keras 2 .keras file: groups named by the classes of the layers, numbered in the order of the configuration."""

import re
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.loading.keras2.graph import entries_of, name_of
from edgeferry.models.loading.keras2.proof import Proof

if TYPE_CHECKING:
    import keras

# The groups of a model's layers: Keras 2.13 and later, and before.
LAYERS: Final = ("layers", "_layer_checkpoint_dependencies")
VARIABLES: Final = "vars"
MODELS: Final = ("Sequential", "Functional", "Model")


def load_zip_weights(model: "keras.Model", entry: dict[str, Any], group: Any, proof: Proof) -> None:
    """Give each layer of a model the weights in an open HDF5 group; ``entry`` is the model's configuration in the file.

    Raises:
        EdgeError: a layer has other weights in the file than in the model.
    """
    held = next((group[name] for name in LAYERS if name in group), None)
    if held is None:
        return
    layers, count = {layer.name: layer for layer in model.layers}, Counter[str]()
    for each in entries_of(entry["config"]):
        kind = _snake(str(each["class_name"]))
        name = f"{kind}_{count[kind]}" if count[kind] else kind
        count[kind] += 1
        layer = layers.get(name_of(each).replace("/", "_"))
        if name not in held or layer is None:
            continue
        if each["class_name"] in MODELS:
            load_zip_weights(layer, each, held[name], proof)
        else:
            _load(layer, held[name], proof)


def _load(layer: Any, group: Any, proof: Proof) -> None:
    """Load the own weights of a layer, then those of the layers in it, such as a recurrent layer's cell."""
    arrays = [group[VARIABLES][str(at)][()] for at in range(len(group[VARIABLES]))] if VARIABLES in group else []
    floats = [array for array in arrays if proof.is_weight(array)]
    variables = [each for each in layer.weights if proof.is_weight(each) and _is_own(layer, each)] if floats else []
    if len(floats) != len(variables):
        proof.refuse(f"the layer {layer.name!r} has {len(variables)} weights, the file holds {len(floats)} for it")
    for variable, array in zip(variables, floats, strict=True):
        proof.assign(variable, array, group.name)
    for name in group:
        inner = getattr(layer, name, None) if name != VARIABLES else None
        if hasattr(inner, "weights"):
            _load(inner, group[name], proof)
    if hasattr(layer, "finalize_state"):
        layer.finalize_state()


def _is_own(layer: Any, variable: Any) -> bool:
    own = (*layer._trainable_variables, *layer._non_trainable_variables)  # noqa: SLF001 - Keras has no public way to tell
    return any(variable is each for each in own)


def _snake(name: str) -> str:
    """Return a class's name as Keras writes it into a file: SeparableConv2D is separable_conv2d."""
    spaced = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", spaced).lower()
