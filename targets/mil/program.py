# SPDX-License-Identifier: Apache-2.0
"""A package's program, prepared: names checked, weights decompressed, constants bound to the operations that read them."""

import inspect
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.constants import CONSTANT_EXPRESSIONS
from edgeferry.targets.mil.evaluation import Program, ProgramStep, Values, check_shape, classify
from edgeferry.targets.mil.fusion import fused
from edgeferry.targets.mil.limits import LARGEST_CONSTANTS, allowed, damage
from edgeferry.targets.mil.operations import OPERATIONS
from edgeferry.targets.mil.package import ModelPackage
from edgeferry.targets.mil.values import Constant, constant, tensor_type
from edgeferry.targets.target import Unsupported


def read_program(package: ModelPackage, *, rounds_to_float16: bool, fuses: bool = True) -> Program:
    """Return a package's program, its weights decompressed; ``fuses`` is false where the result of every operation is wanted.

    Raises:
        EdgeError: it is damaged.
        Unsupported: it holds operations or types that the evaluator does not support.
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
    ready = fused(steps, tuple(block.outputs)) if fuses else tuple(steps)
    return Program(inputs, tuple(block.outputs), constants, ready, rounds_to_float16)


def labels_of(package: ModelPackage) -> tuple[str, ...] | None:
    """Return the class labels of the classify operation, in the order of its probabilities; None without one."""
    operations = package.block.operations
    call = next((each for each in operations if each.type == "classify"), None)
    if call is None:
        return None
    with damage("class labels"):
        binding = call.inputs["classes"].arguments[0]
        made = [each for each in operations if any(output.name == binding.name for output in each.outputs)]
        value = binding.value if binding.WhichOneof("binding") == "value" else made[0].attributes["val"]
        return tuple(map(str, constant(value, package.model_folder)))


def _refuse_unknown(block: Any) -> None:
    known = {"const", "classify", *CONSTANT_EXPRESSIONS, *OPERATIONS}
    unknown = sorted({operation.type for operation in block.operations if operation.type not in known or operation.blocks})
    if unknown:
        raise Unsupported("EF-mil-unsupported", f"the evaluator does not support these operations: {', '.join(unknown)}")


def _check_names(block: Any, calls: list[Any], known: set[str]) -> None:
    known = set(known)
    for call in calls:
        reads = {each.name for bound in call.inputs.values() for each in bound.arguments if each.name}
        if missing := sorted(reads - known):
            raise EdgeError("EF-mil-names", f"the program's {call.type} reads {missing[0]!r}, which nothing before it writes.")
        made = [output.name for output in call.outputs]
        if again := sorted(known.intersection(made)):
            raise EdgeError("EF-mil-names", f"the program's {call.type} writes {again[0]!r}, which exists already.")
        known.update(made)
    if missing := sorted(set(block.outputs) - known):
        raise EdgeError("EF-mil-names", f"the program outputs {missing[0]!r}, which nothing in it writes.")


def _constants(block: Any, model_folder: Path) -> Values:
    """Return the constants by name, decompressed, in the type that is computed in."""
    stored: Values = {}
    total = 0
    for operation in block.operations:
        if operation.type != "const" and operation.type not in CONSTANT_EXPRESSIONS:
            continue
        with damage(operation.type):
            found = _constant_results(operation, stored, model_folder)
        total += sum(value.nbytes for value in found.values() if isinstance(value, np.ndarray))
        if total > LARGEST_CONSTANTS:
            raise EdgeError(
                "EF-mil-too-large", f"the program's constants have more than {LARGEST_CONSTANTS} bytes; export it again."
            )
        stored.update(found)
    return {name: _ready(value) for name, value in stored.items()}


def _constant_results(operation: Any, constants: Values, model_folder: Path) -> Values:
    if operation.type == "const":
        return {operation.outputs[0].name: constant(operation.attributes["val"], model_folder)}
    # iOS 16 writes a constant expression's inputs as attributes, iOS 18 as inputs.
    inputs = {name: constant(value, model_folder) for name, value in operation.attributes.items() if name != "name"}
    for name, argument in operation.inputs.items():
        binding = argument.arguments[0]
        if binding.name and binding.name not in constants:
            raise EdgeError("EF-mil-names", f"the program's {operation.type} reads {binding.name!r}, which is not a constant.")
        inputs[name] = constants[binding.name] if binding.name else constant(binding.value, model_folder)
    function = CONSTANT_EXPRESSIONS[operation.type]
    _check_inputs(operation.type, function, set(inputs))
    results = function(**inputs)
    results = results if isinstance(results, tuple) else (results,)
    for output, result in zip(operation.outputs, results, strict=True):
        check_shape(result, tensor_type(output.type), output.name)
    return {output.name: result for output, result in zip(operation.outputs, results, strict=True)}


def _ready(value: Constant) -> Any:
    """Return a constant in the type that is computed in: float16 in float32, contiguous."""
    if not isinstance(value, np.ndarray):
        return value
    return np.ascontiguousarray(value, np.float32) if value.dtype == np.float16 and value.ndim else _scalar(value)


def _scalar(value: Array) -> Array:
    return value.astype(np.float32) if value.dtype == np.float16 else value


def _step(call: Any, constants: Values, released: tuple[str, ...], model_folder: Path) -> ProgramStep:
    function = classify if call.type == "classify" else OPERATIONS[call.type]
    bound: Values = {}
    named: dict[str, str | tuple[str | None, ...]] = {}
    for name, bindings in call.inputs.items():
        given = tuple(constants.get(each.name) if each.name else _inline(each.value, model_folder) for each in bindings.arguments)
        names = tuple(each.name if each.name and each.name not in constants else None for each in bindings.arguments)
        several = name == "values"
        if any(names):
            named[name] = names if several else str(names[0])
        if several or not any(names):
            bound[name] = given if several else given[0]
    _check_inputs(call.type, function, {*bound, *named})
    outputs = tuple((output.name, tensor_type(output.type)) for output in call.outputs)
    for name, declared in outputs:
        if declared is not None:
            allowed((size or 0 for size in declared.shape), f"{call.type} {name}")
    return ProgramStep(outputs[0][0], call.type, function, bound, named, outputs, released)


def _inline(value: Any, model_folder: Path) -> Any:
    if value.WhichOneof("value") == "blobFileValue":
        raise Unsupported(
            "EF-mil-unsupported",
            "the program binds a weight without a name to an operation, which the evaluator does not support",
        )
    return _ready(constant(value, model_folder))


def _check_inputs(name: str, function: Callable[..., Any], given: set[str]) -> None:
    known, needed = _parameters(function)
    if unknown := sorted(given - known):
        raise Unsupported(
            "EF-mil-unsupported", f"the program's {name} has the input {unknown[0]!r}, which the evaluator does not support"
        )
    if lacking := sorted(needed - given):
        raise EdgeError("EF-mil-input-missing", f"the program's {name} lacks the input {lacking[0]!r}; export it again.")


@cache
def _parameters(function: Callable[..., Any]) -> tuple[frozenset[str], frozenset[str]]:
    parameters = inspect.signature(function).parameters
    return frozenset(parameters), frozenset(name for name, each in parameters.items() if each.default is inspect.Parameter.empty)


def _last_used(calls: list[Any], kept: tuple[str, ...]) -> dict[int, tuple[str, ...]]:
    """Return, by step, the results that no later step reads."""
    last: dict[str, int] = {}
    made: set[str] = set()
    for number, call in enumerate(calls):
        for name in (each.name for bound in call.inputs.values() for each in bound.arguments if each.name in made):
            last[name] = number
        for output in call.outputs:
            made.add(output.name)
            last[output.name] = number
    steps: dict[int, tuple[str, ...]] = {}
    for name, number in last.items():
        if name not in kept:
            steps[number] = (*steps.get(number, ()), name)
    return steps
