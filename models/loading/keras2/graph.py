# SPDX-License-Identifier: Apache-2.0
"""A model of a Keras 2 configuration, Sequential or Functional and nested to any depth, built of the layers of Keras 3."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.loading.keras2.functions import OF_LISTS, function_of
from edgeferry.models.loading.keras2.layers import layer_of
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import keras

FUNCTIONAL: Final = ("Functional", "Model")
CONSTANT: Final = "_CONSTANT_VALUE"
SHAPES: Final = ("batch_input_shape", "batch_shape")
FLOAT: Final = "float32"


def model_of(entry: dict[str, Any], where: str) -> "keras.Model":
    """Return the Keras 3 model of a Keras 2 configuration; ``where`` names the file, for errors.

    Raises:
        EdgeError: it uses something that Keras 3 has not, or is no model.
    """
    name, config = entry.get("class_name"), entry.get("config")
    try:
        if name == "Sequential":
            return _sequential(entry, where)
        if name in FUNCTIONAL and isinstance(config, dict) and "layers" in config:
            return _Graph(config, where).model()
    except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
        text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise EdgeError("EF-model-keras-2", f"{where}: cannot be built again in Keras 3 ({text}).") from error
    raise EdgeError("EF-model-custom-class", f"{where}: is a model of the class {name!r}, whose code is not in the file.")


def name_of(entry: dict[str, Any]) -> str:
    """Return the name of a layer in a configuration."""
    config = entry["config"]
    return str(entry.get("name") or (config.get("name") if isinstance(config, dict) else None) or entry["class_name"])


def entries_of(config: Any) -> list[dict[str, Any]]:
    """Return the layers of a model's configuration; before Keras 2.2 a Sequential's was a list."""
    return list(config if isinstance(config, list) else config["layers"])


def _built(entry: dict[str, Any], where: str) -> Any:
    if entry["class_name"] in ("Sequential", *FUNCTIONAL):
        return model_of(entry, where)
    return layer_of(str(entry["class_name"]), entry["config"], where)


def _input(config: dict[str, Any]) -> Any:
    import keras

    shape = next(config[key] for key in SHAPES if config.get(key))
    dtype = config.get("dtype")
    whole = isinstance(dtype, str) and "int" in dtype
    name = str(config.get("name", "image")).replace("/", "_")
    return keras.Input(batch_shape=tuple(shape), dtype=dtype if whole else FLOAT, name=name)


def _sequential(entry: dict[str, Any], where: str) -> "keras.Model":
    import keras

    config, layers = entry["config"], entries_of(entry["config"])
    parts = [_input(each["config"]) if each["class_name"] == "InputLayer" else _built(each, where) for each in layers]
    first = layers[0]["config"]
    if layers[0]["class_name"] != "InputLayer" and isinstance(first, dict):
        shape = next((first[key] for key in SHAPES if first.get(key)), None) or _build_shape(entry)
        parts = [_input({"batch_shape": shape, "dtype": first.get("dtype")}), *parts] if shape else parts
    name = config.get("name") if isinstance(config, dict) else None
    model = keras.Sequential(parts, name=name.replace("/", "_") if name else None)
    model.trainable = bool(config.get("trainable", True)) if isinstance(config, dict) else True
    return model


def _build_shape(entry: dict[str, Any]) -> list[int | None] | None:
    """Return the shape that a model without an input layer was built for."""
    config = entry["config"]
    shape = (config.get("build_input_shape") if isinstance(config, dict) else None) or (entry.get("build_config") or {}).get(
        "input_shape"
    )
    return shape if isinstance(shape, list) else None


class _Graph:
    """A Functional model in the making: its layers by name, and the tensors that each call of a layer gave."""

    def __init__(self, config: dict[str, Any], where: str) -> None:
        self.config, self.where = config, where
        self.entries = {name_of(entry): entry for entry in entries_of(config)}
        self.layers: dict[str, Any] = {}
        self.outputs: dict[tuple[str, int], list[Any]] = {}

    def model(self) -> "keras.Model":
        """Return the model, once every call is made whose inputs are there."""
        import keras

        for name, entry in self.entries.items():
            if entry["class_name"] == "InputLayer":
                self.outputs[name, 0] = [_input({"name": name, **entry["config"]})]
            elif "OpLambda" not in entry["class_name"]:
                self.layers[name] = _built(entry, self.where)
        waiting = [(name, at, node) for name in self.entries for at, node in self._calls(name)]
        while waiting:
            ready = [each for each in waiting if all(self._key(found) in self.outputs for found in self._named(each[2]))]
            if not ready:
                raise ValueError(f"the inputs of {waiting[0][0]!r} are not in the model")
            for name, at, node in ready:
                self.outputs[name, at] = self._called(name, node)
            waiting = [each for each in waiting if each[:2] not in self.outputs]
        inputs, outputs = (
            [self._tensor(each) for each in _references(self.config[key])] for key in ("input_layers", "output_layers")
        )
        _name_operations(outputs)
        single = len(inputs) == len(outputs) == 1
        model = keras.Model(*((inputs[0], outputs[0]) if single else (inputs, outputs)), name=self.config.get("name"))
        model.trainable = bool(self.config.get("trainable", True))
        return model

    def _calls(self, name: str) -> list[tuple[int, Any]]:
        """Return the calls of a layer with the numbers that others know them by: those of a nested model may begin with 1."""
        import keras

        nodes = self.entries[name].get("inbound_nodes") or []
        calls = [node for entry in self.entries.values() for node in entry.get("inbound_nodes") or []]
        references = [each for node in calls for each in self._named(node)] + _references(self.config["output_layers"])
        known = [each[1] for each in references if each[0] == name]
        nested = isinstance(self.layers.get(name), keras.Model)
        first = 1 if nested and known and max(known) >= len(nodes) else 0
        return list(enumerate(nodes, first))

    def _named(self, node: Any) -> Iterator[list[Any]]:
        """Yield each reference to a layer's output in a call."""
        if isinstance(node, dict):
            for value in node.values():
                yield from self._named(value)
        elif isinstance(node, list):
            if self._is_reference(node):
                yield node
            for value in node:
                yield from self._named(value)

    def _is_reference(self, value: Any) -> bool:
        return isinstance(value, list) and len(value) >= 3 and isinstance(value[0], str) and value[0] in self.entries

    def _key(self, reference: list[Any]) -> tuple[str, int]:
        return reference[0], reference[1]

    def _tensor(self, value: Any) -> Any:
        """Return a value with every reference in it replaced by its tensor."""
        if self._is_reference(value):
            return self.outputs[self._key(value)][value[2]]
        if isinstance(value, list) and value and value[0] == CONSTANT:
            return value[2]
        return [self._tensor(each) for each in value] if isinstance(value, list) else value

    def _called(self, name: str, node: Any) -> list[Any]:
        if isinstance(node, dict):
            raise TypeError(f"the call of {name!r} is written as Keras 3 does")
        calls = [node] if isinstance(node[0], str) else node
        options = calls[0][3] if len(calls[0]) > 3 else {}
        given = {
            key: self._tensor(value) for key, value in options.items() if value is not None and key not in {"training", "name"}
        }
        taken = [self._tensor(each) for each in calls]
        entry = self.entries[name]
        if "OpLambda" not in entry["class_name"]:
            result = self.layers[name](taken[0] if len(taken) == 1 else taken, **given)
        else:
            wanted = str(entry["config"]["function"])
            function = function_of(wanted)
            if function is None:
                raise EdgeError(
                    "EF-model-keras-2",
                    f"{self.where}: calls tf.{wanted}, which is not known here. Save the model again from Keras 3.",
                )
            result = function(taken if len(taken) > 1 or wanted in OF_LISTS else taken[0], **given)
        return list(result) if isinstance(result, list | tuple) else [result]


def _references(value: Any) -> list[list[Any]]:
    """Return the references in ``input_layers`` or ``output_layers``: one, a list, or a dict of them."""
    if isinstance(value, dict):
        return [each for part in value.values() for each in _references(part)]
    if value and isinstance(value[0], str):
        return [value]
    return [each for part in value for each in _references(part)]


def _name_operations(outputs: list[Any]) -> None:
    """Number the operations that compute some tensors and are no layers: their own names may be those of layers in the file."""
    import keras

    waiting, seen = list(outputs), set[tuple[int, int]]()
    while waiting:
        operation, at, _ = waiting.pop()._keras_history  # noqa: SLF001 - Keras has no public way to walk a model's graph
        if (id(operation), at) in seen:
            continue
        seen.add((id(operation), at))
        if not isinstance(operation, keras.Layer):
            operation.name = f"function_{len(seen)}"
        waiting += operation._inbound_nodes[at].input_tensors  # noqa: SLF001
