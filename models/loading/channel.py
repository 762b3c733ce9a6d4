# SPDX-License-Identifier: Apache-2.0
"""A model of gray images without a channel, (28, 28), taken as one of images with one channel, (28, 28, 1)."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.loading.loaded import Change, Loaded

if TYPE_CHECKING:
    import keras

CODE: Final = "model-no-channel"
# Batch, height and width.
RANK: Final = 3
# What may stand before the first layer that looks at more than one number at a time.
ONE_BY_ONE: Final = (
    "Add",
    "Cast",
    "Divide",
    "Dropout",
    "GaussianNoise",
    "Multiply",
    "Normalization",
    "Rescaling",
    "Subtract",
    "TrueDivide",
)
# What makes an image of rows and columns; anything else, such as an LSTM, reads the rows as a sequence.
OF_IMAGES: Final = ("ExpandDims", "Flatten", "Reshape")


def with_channel(loaded: Loaded) -> Loaded:
    """Return the model with a channel in its input where it takes images without one; any other as it is."""
    import keras

    model = loaded.model
    if len(model.inputs) != 1 or len(shape := tuple(model.inputs[0].shape)) != RANK or None in shape[1:]:
        return loaded
    if first_layer(model) not in OF_IMAGES:
        return loaded
    image = keras.Input(batch_shape=(*shape, 1), dtype=model.inputs[0].dtype, name="image")
    whole = keras.Model(image, model(keras.layers.Reshape(shape[1:])(image)), name=f"{model.name}_of_one_channel")
    note = f"takes {shape[1:]}, images without a channel, and is given one: {(*shape[1:], 1)}"
    return replace(loaded, model=whole, changes=(*loaded.changes, Change(CODE, note)))


def first_layer(model: "keras.Model") -> str:
    """Return the class of the first layer that does more than change each number by itself; '' after a branch."""
    names = (type(operation).__name__ for _, steps in first_steps(model) for operation, _ in steps)
    return next((name for name in names if name not in ONE_BY_ONE), "")


def first_steps(model: "keras.Model") -> Iterator[tuple[Any, list[tuple[Any, Any]]]]:
    """Yield the operations after a model's input up to the first branch, those of nested models apart.

    Each time the tensor they start from, and the operations with their outputs.
    """
    import keras

    start = tensor = model.inputs[0]
    steps: list[tuple[Any, Any]] = []
    # The last output of each nested model that is being walked, and the tensor after that model.
    around: list[tuple[Any, Any]] = []
    while True:
        while around and tensor is around[-1][0]:
            yield start, steps
            start = tensor = around.pop()[1]
            steps = []
        node = _only_node(tensor)
        if node is None:
            yield start, steps
            return
        after, behind = node.operation, node.output_tensors[0]
        if isinstance(after, keras.Model):
            yield start, steps
            around.append((after.outputs[0], behind))
            start = tensor = after.inputs[0]
            steps = []
        else:
            tensor = behind
            steps.append((after, tensor))


def _only_node(tensor: Any) -> Any:
    """Return the one operation that a tensor goes to, with its outputs; None where there are several or none.

    Channels that are taken apart and stacked again, as Keras reverses them, count as the stacking alone.
    """
    nodes = _nodes_after(tensor)
    if len({id(node.operation) for node in nodes}) == 1:
        return nodes[-1]
    if not nodes or any(type(node.operation).__name__ != "GetItem" for node in nodes):
        return None
    behind = [after for node in nodes for after in _nodes_after(node.output_tensors[0])]
    is_stacked = len({id(node.operation) for node in behind}) == 1 and type(behind[0].operation).__name__ == "Stack"
    return behind[0] if is_stacked else None


def _nodes_after(tensor: Any) -> list[Any]:
    operation, _, _ = tensor._keras_history  # noqa: SLF001 - Keras has no public way to walk a model's graph
    # A Sequential calls its layers again whenever one is added; the last calls are those that count.
    return [node for node in operation._outbound_nodes if any(tensor is each for each in node.input_tensors)]  # noqa: SLF001
