# SPDX-License-Identifier: Apache-2.0
"""A package's program made ready: names checked, weights decompressed, what is constant bound to the operation that reads it."""

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.constants import CONSTANT_EXPRESSIONS
from edgeferry.targets.mil.evaluation import Program, Step, Values, check_shape, classify
from edgeferry.targets.mil.fusion import fused
from edgeferry.targets.mil.limits import LARGEST_CONSTANTS, allowed, damage
from edgeferry.targets.mil.operations import OPERATIONS
from edgeferry.targets.mil.package import Package
from edgeferry.targets.mil.values import Constant, constant, tensor_type
from edgeferry.targets.target import Unsupported


def read_program(package: Package, *, rounds_to_float16: bool) -> Program:
    """Return a package's program, its weights decompressed.

    Raises:
        EdgeError: it is damaged.
        Unsupported: it holds operations or types that the evaluator does not know.
    """
    block = package.block
    _refuse_unknown(block)
    constants = _constants(block, package.model_folder)
    calls = [operation for operation in block.operations if operation.type not in {"const", *CONSTANT_EXPRESSIONS}]
    inputs = tuple((each.name, tensor_type(each.type)) for each in package.inputs)
    _check_names(block, calls, {*constants, *(name for name, _ in inputs)})
    last_used = _last_used(calls, tuple(block.outputs))
    steps = []
    for number, call in enumerate(calls):
        with damage(f"operation {call.type}"):
            step = _step(call, constants, last_used.get(number, ()), package.model_folder)
        steps.append(step)
    return Program(inputs, tuple(block.outputs), constants, fused(steps, tuple(block.outputs)), rounds_to_float16)


def labels_of(package: Package) -> tuple[str, ...] | None:
    """Return the class labels that the classify operation holds, in the order of its probabilities; None without one."""
    operations = package.block.operations
    asked = next((each for each in operations if each.type == "classify"), None)
    if asked is None:
        return None
    with damage("class labels"):
        binding = asked.inputs["classes"].arguments[0]
        made = [each for each in operations if any(output.name == binding.name for output in each.outputs)]
        value = binding.value if binding.WhichOneof("binding") == "value" else made[0].attributes["val"]
        return tuple(map(str, constant(value, package.model_folder)))


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
        made = [output.name for output in call.outputs]
        if again := sorted(known.intersection(made)):
            raise EdgeError(f"the program's operation {call.type} writes {again[0]!r}, which is there already.")
        known.update(made)
    if missing := sorted(set(block.outputs) - known):
        raise EdgeError(f"the program answers {missing[0]!r}, which nothing in it writes.")


def _constants(block: Any, model_folder: Path) -> Values:
    """Return what is constant by name, decompressed, as it is computed with."""
    stored: Values = {}
    total = 0
    for operation in block.operations:
        if operation.type != "const" and operation.type not in CONSTANT_EXPRESSIONS:
            continue
        with damage(operation.type):
            found = _constant_results(operation, stored, model_folder)
        total += sum(value.nbytes for value in found.values() if isinstance(value, np.ndarray))
        if total > LARGEST_CONSTANTS:
            raise EdgeError(f"the program's constants have more than {LARGEST_CONSTANTS} bytes; export it anew.")
        stored.update(found)
    return {name: _ready(value) for name, value in stored.items()}


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
        check_shape(result, tensor_type(output.type), output.name)
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
        given = tuple(constants.get(each.name) if each.name else _in_place(each.value, model_folder) for each in told.arguments)
        names = tuple(each.name if each.name and each.name not in constants else None for each in told.arguments)
        several = name == "values"
        if any(names):
            named[name] = names if several else str(names[0])
        if several or not any(names):
            bound[name] = given if several else given[0]
    _check_inputs(call.type, function, {*bound, *named})
    outputs = tuple((output.name, tensor_type(output.type)) for output in call.outputs)
    for name, told in outputs:
        if told is not None:
            allowed((size or 0 for size in told.shape), f"{call.type} {name}")
    return Step(outputs[0][0], call.type, function, bound, named, outputs, released)


def _in_place(value: Any, model_folder: Path) -> Any:
    if value.WhichOneof("value") == "blobFileValue":
        raise Unsupported("the program binds a weight to an operation without a name, which the evaluator does not know")
    return _ready(constant(value, model_folder))


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
