# SPDX-License-Identifier: Apache-2.0
"""A program made ready once, then evaluated image by image: each operation in order, each result held to its declared type."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from models.errors import EdgeError
from targets.mil.arrays import COMPUTED_IN, Array, rounded_to_float16
from targets.mil.constants import CONSTANT_EXPRESSIONS
from targets.mil.operations import OPERATIONS
from targets.mil.package import Package
from targets.mil.values import Constant, TensorType, constant, tensor_type
from targets.target import Unsupported

Values = dict[str, Any]


@dataclass(frozen=True)
class Step:
    """An operation ready to be called: what is constant is bound, what is not is named."""

    name: str
    operation: str
    function: Callable[..., Any]
    constants: Mapping[str, Any]
    named: Mapping[str, str | tuple[str | None, ...]]
    outputs: tuple[tuple[str, TensorType | None], ...]
    released: tuple[str, ...]


@dataclass(frozen=True)
class Program:
    """A block's steps in order, and whether results declared float16 are rounded to it or kept in float32."""

    inputs: tuple[tuple[str, TensorType | None], ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, Any]
    steps: tuple[Step, ...]
    rounds_to_float16: bool

    @property
    def declares_float16(self) -> bool:
        """Return whether any result is declared to be float16."""
        return any(told is not None and told.data_type == "FLOAT16" for step in self.steps for _, told in step.outputs)

    def evaluated(self, inputs: Mapping[str, Array]) -> Values:
        """Return the outputs by name.

        Raises:
            EdgeError: a result is not what the program declares it to be, which a damaged program's are not.
        """
        values: Values = {
            name: _as_declared(inputs[name], told, name, rounds=self.rounds_to_float16) for name, told in self.inputs
        }
        with np.errstate(all="ignore"):
            for step in self.steps:
                values.update(_results(step, values, rounds=self.rounds_to_float16))
                for name in step.released:
                    del values[name]
        return {name: values[name] if name in values else self.constants[name] for name in self.outputs}


def classify(probabilities: Array, classes: tuple[Any, ...]) -> tuple[str, dict[str, float]]:
    """Return the label of what is largest, and each label's probability; source: iOS15/classify.py."""
    if probabilities.size != len(classes):
        raise EdgeError(f"the program holds {len(classes)} class labels for {probabilities.size} probabilities; export it anew.")
    labels, scores = tuple(map(str, classes)), probabilities.ravel()
    return labels[int(scores.argmax())], dict(zip(labels, scores.tolist(), strict=True))


def read_program(package: Package, *, rounds_to_float16: bool) -> Program:
    """Return a package's program, its weights decompressed.

    Raises:
        EdgeError: it is damaged.
        Unsupported: it holds operations or types that the evaluator does not know.
    """
    block = package.block
    _refuse_unknown(block)
    constants: Values = {}
    calls = []
    for operation in block.operations:
        if operation.type == "const" or operation.type in CONSTANT_EXPRESSIONS:
            constants.update(_constant_results(operation, constants, package.model_folder))
        else:
            calls.append(operation)
    inputs = tuple((each.name, tensor_type(each.type)) for each in package.inputs)
    _check_names(block, calls, {*constants, *(name for name, _ in inputs)})
    ready: Values = {name: _ready(value) for name, value in constants.items()}
    last_used = _last_used(calls, tuple(block.outputs))
    steps = tuple(_step(call, ready, last_used.get(number, ()), package.model_folder) for number, call in enumerate(calls))
    return Program(inputs, tuple(block.outputs), ready, steps, rounds_to_float16)


def labels_of(package: Package) -> tuple[str, ...] | None:
    """Return the class labels that the classify operation holds, in the order of its probabilities; None without one."""
    operations = package.block.operations
    asked = next((each for each in operations if each.type == "classify"), None)
    if asked is None:
        return None
    binding = asked.inputs["classes"].arguments[0]
    if binding.WhichOneof("binding") == "value":
        value = binding.value
    else:
        made = next(each for each in operations if any(output.name == binding.name for output in each.outputs))
        value = made.attributes["val"]
    found = constant(value, package.model_folder)
    return tuple(map(str, found))


def _refuse_unknown(block: Any) -> None:
    known = {"const", "classify", *CONSTANT_EXPRESSIONS, *OPERATIONS}
    unknown = sorted({operation.type for operation in block.operations if operation.type not in known or operation.blocks})
    if unknown:
        raise Unsupported(f"the program holds operations that the evaluator does not know: {', '.join(unknown)}")


def _check_names(block: Any, calls: list[Any], known: set[str]) -> None:
    known = set(known)
    for call in calls:
        asked = {each.name for told in call.inputs.values() for each in told.arguments if each.name}
        if missing := sorted(asked - known):
            raise EdgeError(f"the program's operation {call.type} reads {missing[0]!r}, which nothing before it writes.")
        known |= {output.name for output in call.outputs}
    if missing := sorted(set(block.outputs) - known):
        raise EdgeError(f"the program answers {missing[0]!r}, which nothing in it writes.")


def _constant_results(operation: Any, constants: Values, model_folder: Path) -> Values:
    if operation.type == "const":
        return {operation.outputs[0].name: constant(operation.attributes["val"], model_folder)}
    # iOS 16 writes a constant expression's inputs as attributes, iOS 18 as inputs.
    told = {name: constant(value, model_folder) for name, value in operation.attributes.items() if name != "name"}
    for name, argument in operation.inputs.items():
        binding = argument.arguments[0]
        if binding.name and binding.name not in constants:
            raise EdgeError(f"the program's operation {operation.type} reads {binding.name!r}, which is no constant.")
        told[name] = constants[binding.name] if binding.name else constant(binding.value, model_folder)
    function = CONSTANT_EXPRESSIONS[operation.type]
    _check_inputs(operation.type, function, set(told))
    results = function(**told)
    results = results if isinstance(results, tuple) else (results,)
    for output, result in zip(operation.outputs, results, strict=True):
        _check_shape(result, tensor_type(output.type), output.name)
    return {output.name: result for output, result in zip(operation.outputs, results, strict=True)}


def _ready(value: Constant) -> Any:
    """Return a constant as it is computed with: float16 in float32, laid out in rows."""
    if not isinstance(value, np.ndarray):
        return value
    return np.ascontiguousarray(value, np.float32) if value.dtype == np.float16 and value.ndim else _scalar(value)


def _scalar(value: Array) -> Array:
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _step(call: Any, constants: Values, released: tuple[str, ...], model_folder: Path) -> Step:
    function = classify if call.type == "classify" else OPERATIONS[call.type]
    bound: Values = {}
    named: dict[str, str | tuple[str | None, ...]] = {}
    for name, told in call.inputs.items():
        given = tuple(
            constants.get(each.name) if each.name else _ready(constant(each.value, model_folder)) for each in told.arguments
        )
        names = tuple(each.name if each.name and each.name not in constants else None for each in told.arguments)
        several = name == "values"
        if any(names):
            named[name] = names if several else str(names[0])
        if several or not any(names):
            bound[name] = given if several else given[0]
    _check_inputs(call.type, function, {*bound, *named})
    outputs = tuple((output.name, tensor_type(output.type)) for output in call.outputs)
    return Step(outputs[0][0], call.type, function, bound, named, outputs, released)


def _check_inputs(name: str, function: Callable[..., Any], given: set[str]) -> None:
    known, needed = _parameters(function)
    if unknown := sorted(given - known):
        raise Unsupported(f"the program's operation {name} has the input {unknown[0]!r}, which the evaluator does not know")
    if lacking := sorted(needed - given):
        raise EdgeError(f"the program's operation {name} lacks the input {lacking[0]!r}; export it anew.")


@cache
def _parameters(function: Callable[..., Any]) -> tuple[frozenset[str], frozenset[str]]:
    told = inspect.signature(function).parameters
    return frozenset(told), frozenset(name for name, each in told.items() if each.default is inspect.Parameter.empty)


def _last_used(calls: list[Any], kept: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
    """Return, by step, which results no later step reads."""
    last: dict[str, int] = {}
    made: set[str] = set()
    for number, call in enumerate(calls):
        for name in (each.name for told in call.inputs.values() for each in told.arguments if each.name in made):
            last[name] = number
        for output in call.outputs:
            made.add(output.name)
            last[output.name] = number
    steps: dict[int, tuple[str, ...]] = {}
    for name, number in last.items():
        if name not in kept:
            steps[number] = (*steps.get(number, ()), name)
    return steps


def _results(step: Step, values: Values, *, rounds: bool) -> Values:
    given = dict(step.constants)
    for name, source in step.named.items():
        if isinstance(source, str):
            given[name] = values[source]
        else:
            given[name] = tuple(held if at is None else values[at] for at, held in zip(source, step.constants[name], strict=True))
    results = _called(step, given)
    if len(results) != len(step.outputs):
        raise EdgeError(f"the program's {step.operation} {step.name} gives {len(results)} results; expected {len(step.outputs)}.")
    return {
        name: _as_declared(result, told, name, rounds=rounds) for result, (name, told) in zip(results, step.outputs, strict=True)
    }


def _called(step: Step, given: Values) -> tuple[Any, ...]:
    try:
        results = step.function(**given)
    except (ValueError, IndexError, TypeError, ZeroDivisionError) as error:
        raise EdgeError(f"the program's {step.operation} {step.name} cannot be evaluated: {error}.") from error
    return results if isinstance(results, tuple) else (results,)


def _as_declared(result: Any, told: TensorType | None, name: str, *, rounds: bool) -> Any:
    if told is None or isinstance(result, str):
        return result
    if told.data_type not in COMPUTED_IN:
        raise Unsupported(f"the program's {name} is of {told.data_type}, which the evaluator does not know")
    values = np.asarray(result, dtype=COMPUTED_IN[told.data_type])
    _check_shape(values, told, name)
    return rounded_to_float16(values) if rounds and told.data_type == "FLOAT16" else values


def _check_shape(values: Array, told: TensorType | None, name: str) -> None:
    if told is None:
        return
    fits = len(values.shape) == len(told.shape) and all(
        declared in {None, size} for size, declared in zip(values.shape, told.shape, strict=True)
    )
    if not fits:
        raise EdgeError(f"the program declares {name} to be {told.shape}; its operation gives {values.shape}. Export it anew.")
