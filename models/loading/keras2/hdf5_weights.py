# SPDX-License-Identifier: Apache-2.0
"""The weights of a Keras 2 .h5 file: one group for each layer of the model, with a list of names in the layer's order."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.loading.keras2.proof import Proof

if TYPE_CHECKING:
    import keras

GROUP: Final = "model_weights"
# The longest end of a weight's name that is compared: model, layer, cell, weight.
LONGEST_END: Final = 5


def load_hdf5_weights(model: "keras.Model", file: Any, proof: Proof) -> None:
    """Give each layer of a model the weights that an open .h5 file holds for it.

    Weights are found by the ends of their names where these are unique in a layer, else by their order, as Keras 2 does.

    Raises:
        EdgeError: a layer has other weights in the file than in the model.
    """
    groups = file[GROUP]
    layers = {layer.name: layer for layer in model.layers}
    for name in attribute_of(groups, "layer_names"):
        names = attribute_of(groups[name], "weight_names")
        arrays = [(each, groups[name][each][()]) for each in names]
        floats = [(each, array) for each, array in arrays if proof.is_weight(array)]
        if not floats:
            continue
        layer = layers.get(name.replace("/", "_"))
        if layer is None:
            proof.refuse(f"it holds weights of the layer {name!r}, which the model has not")
        for variable, (each, array) in _paired(layer, floats, proof):
            proof.assign(variable, array, each)
        for inner in (layer, *layer._flatten_layers(include_self=False)):  # noqa: SLF001 - no public way to list sublayers
            if hasattr(inner, "finalize_state"):
                inner.finalize_state()


def attribute_of(group: Any, name: str) -> list[str]:
    """Return a list of names kept with a group; Keras splits a long one into ``name0``, ``name1`` and so on."""
    if name in group.attrs:
        parts = [group.attrs[name]]
    else:
        parts = []
        while f"{name}{len(parts)}" in group.attrs:
            parts.append(group.attrs[f"{name}{len(parts)}"])
    return [each.decode() if isinstance(each, bytes) else str(each) for part in parts for each in part]


def _paired(layer: Any, arrays: list[tuple[str, Any]], proof: Proof) -> Iterator[tuple[Any, tuple[str, Any]]]:
    variables = [each for each in (*layer.trainable_weights, *layer.non_trainable_weights) if proof.is_weight(each)]
    if len(variables) != len(arrays):
        proof.refuse(f"the layer {layer.name!r} has {len(variables)} weights, the file holds {len(arrays)} for it")
    if len(variables) == 1:
        return zip(variables, arrays, strict=True)
    for length in range(1, LONGEST_END + 1):
        ours = {_end(variable.path, length): variable for variable in variables}
        theirs = {_end(name, length): (name, array) for name, array in arrays}
        if len(ours) == len(variables) and ours.keys() == theirs.keys():
            return ((ours[end], theirs[end]) for end in ours)
    for variable, (name, _) in zip(variables, arrays, strict=True):
        if _end(variable.path, 1) != _end(name, 1):
            proof.refuse(f"the weight {name!r} of the layer {layer.name!r} stands where {variable.path!r} is expected")
    return zip(variables, arrays, strict=True)


def _end(name: str, length: int) -> tuple[str, ...]:
    parts = name.partition(":")[0].split("/")
    # Keras 3's DepthwiseConv2D names it 'kernel'.
    parts[-1] = {"depthwise_kernel": "kernel"}.get(parts[-1], parts[-1])
    return tuple(parts[-length:])
