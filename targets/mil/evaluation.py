# SPDX-License-Identifier: Apache-2.0
"""A program evaluated image by image: each operation in order, each result checked against its declared type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.mil.arrays import COMPUTED_IN, Array, rounded_to_float16
from edgeferry.targets.mil.limits import MOST_HELD, damage
from edgeferry.targets.mil.values import TensorType
from edgeferry.targets.target import Unsupported

Values = dict[str, Any]


@dataclass(frozen=True)
class ProgramStep:
    """An operation ready to be called: constant inputs are bound, the others are named."""

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
    steps: tuple[ProgramStep, ...]
    rounds_to_float16: bool

    @property
    def declares_float16(self) -> bool:
        """Return whether any result is declared to be float16."""
        return any(
            declared is not None and declared.data_type == "FLOAT16" for step in self.steps for _, declared in step.outputs
        )

    def evaluated(self, inputs: Mapping[str, Array], observe: Callable[[Values], None] | None = None) -> Values:
        """Return the outputs by name; ``observe`` is called with the results of each step, which the next may overwrite.

        Raises:
            EdgeError: an input is missing, or a result differs from its declaration, as in a damaged program.
        """
        if missing := sorted({name for name, _ in self.inputs} - inputs.keys()):
            raise EdgeError(
                "EF-mil-input-missing",
                f"the program takes an input {missing[0]!r}; given are {', '.join(inputs)}. Export it again.",
            )
        values: Values = {
            name: as_declared(inputs[name], declared, name, rounds=self.rounds_to_float16) for name, declared in self.inputs
        }
        held = 0
        with np.errstate(all="ignore"):
            for step in self.steps:
                results = _results(step, values, rounds=self.rounds_to_float16)
                values.update(results)
                if observe is not None:
                    observe(results)
                held = _check_held(held + sum(map(np.size, results.values())))
                held -= sum(np.size(values.pop(name)) for name in step.released)
        return {name: values[name] if name in values else self.constants[name] for name in self.outputs}


def classify(probabilities: Array, classes: tuple[Any, ...]) -> tuple[str, dict[str, float]]:
    """Return the most probable label, and each label's probability; source: iOS15/classify.py."""
    if probabilities.size != len(classes):
        count = f"{len(classes)} class labels for {probabilities.size} probabilities"
        raise EdgeError("EF-mil-label-count", f"the program has {count}; export it again.")
    labels, scores = tuple(map(str, classes)), probabilities.ravel()
    return labels[int(scores.argmax())], dict(zip(labels, scores.tolist(), strict=True))


def as_declared(result: Any, declared: TensorType | None, name: str, *, rounds: bool) -> Any:
    """Return a result in the type that the program declares, rounded to float16 where that is declared and ``rounds``."""
    if declared is None or isinstance(result, str):
        return result
    if declared.data_type not in COMPUTED_IN:
        raise Unsupported(
            "EF-mil-unsupported", f"the program's {name} is of {declared.data_type}, which the evaluator does not support"
        )
    with damage(name):
        values = np.asarray(result, dtype=COMPUTED_IN[declared.data_type])
    check_shape(values, declared, name)
    return rounded_to_float16(values) if rounds and declared.data_type == "FLOAT16" else values


def check_shape(values: Array, declared: TensorType | None, name: str) -> None:
    """Refuse a result whose shape differs from its declaration."""
    if declared is None:
        return
    fits = len(values.shape) == len(declared.shape) and all(
        wanted in {None, size} for size, wanted in zip(values.shape, declared.shape, strict=True)
    )
    if not fits:
        raise EdgeError(
            "EF-mil-shape",
            f"the program declares {name} as {declared.shape}; its operation returns {values.shape}. Export it again.",
        )


def _results(step: ProgramStep, values: Values, *, rounds: bool) -> Values:
    given = dict(step.constants)
    for name, source in step.named.items():
        if isinstance(source, str):
            given[name] = values[source]
        else:
            given[name] = tuple(held if at is None else values[at] for at, held in zip(source, step.constants[name], strict=True))
    results = _called(step, given)
    if len(results) != len(step.outputs):
        count = f"{len(results)} results; expected {len(step.outputs)}"
        raise EdgeError("EF-mil-result-count", f"the program's {step.operation} {step.name} returns {count}.")
    return {
        name: as_declared(result, declared, name, rounds=rounds)
        for result, (name, declared) in zip(results, step.outputs, strict=True)
    }


def _called(step: ProgramStep, given: Values) -> tuple[Any, ...]:
    with damage(f"{step.operation} {step.name}"):
        results = step.function(**given)
    return results if isinstance(results, tuple) else (results,)


def _check_held(count: int) -> int:
    if count > MOST_HELD:
        raise EdgeError("EF-mil-too-large", f"the program holds more than {MOST_HELD} values at a time; export it again.")
    return count
