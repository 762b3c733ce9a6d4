# SPDX-License-Identifier: Apache-2.0
"""What of a Core ML package may leave the Neural Engine, by published lists; read on any machine, and nothing but a 'may'.

Apple publishes no list, and what runs where depends on chip, system and sizes; a compute plan on the device itself decides.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from edgeferry.targets.mil.values import TensorType

# History: 1, the first; of the rules and of what is told alike.
SCHEMA: Final = 1
RULES: Final = Path(__file__).parent / "placement.json"
# Not computed when an app asks, or on the CPU in any case: constants, and the labels.
PASSED_OVER: Final = ("const", "classify")


@dataclass(frozen=True)
class Rule:
    """One entry of a published list: which operations, and under which condition; None is no condition."""

    rule: str
    may: str
    source: str
    operations: tuple[str, ...] | None = None
    dilation_above: int | None = None
    rank_above: int | None = None
    dimension_above: int | None = None
    open_dimension: bool | None = None
    data_types: tuple[str, ...] | None = None


@dataclass(frozen=True)
class Doubt:
    """An operation that a rule holds for: its result's name and type, the rule, what may be, and who says so."""

    operation: str
    name: str
    rule: str
    shape: tuple[int | None, ...]
    may: str
    source: str


@dataclass(frozen=True)
class Placement:
    """What was found in a package, and among how many operations."""

    operations: int
    doubts: tuple[Doubt, ...]

    @property
    def doubtful(self) -> int:
        """Return how many operations have a doubt."""
        return len({doubt.name for doubt in self.doubts})

    def as_json(self) -> dict[str, Any]:
        """Return what leaves the program."""
        return {"schema": SCHEMA, "operations": self.operations, "doubtful": self.doubtful, "doubts": [*map(asdict, self.doubts)]}


@cache
def rules() -> tuple[Rule, ...]:
    """Return the published lists as rules."""
    told = json.loads(RULES.read_text(encoding="utf-8"))
    return tuple(_rule(each) for each in told["rules"])


def _rule(told: dict[str, Any]) -> Rule:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}
    return Rule(**fields)


def placement(path: Path) -> Placement:
    """Return what of a package may leave the Neural Engine, in the program's order.

    Raises:
        EdgeError: it is no package, or it is damaged, or coremltools, which carries its messages, is not installed.
        Unsupported: it holds no ML Program.
    """
    from edgeferry.targets.mil.package import open_package

    try:
        block = open_package(path).block
    except ModuleNotFoundError as error:
        raise EdgeError(f"{path} cannot be read: {error.name} is not installed: `make install` installs it.") from None
    calls = [call for call in _calls(block) if call.type not in PASSED_OVER and not call.type.startswith("constexpr_")]
    constants = {each.outputs[0].name: each.attributes["val"] for each in _calls(block) if each.type == "const"}
    return Placement(len(calls), tuple(doubt for call in calls for doubt in _doubts(call, constants)))


def lines(path: Path, found: Placement) -> Iterator[str]:
    """Yield what was found as text: a line a doubt, and a summary."""
    for each in found.doubts:
        shape = " x ".join("?" if size is None else str(size) for size in each.shape)
        yield f"{path}: may: {each.operation} {each.name} ({shape or 'scalar'}): {each.rule}: {each.may}; says {each.source}"
    yield (
        f"{path}: {found.doubtful} of {found.operations} operations may leave the Neural Engine, by published lists; "
        "only a compute plan on the device says which do"
    )


def _calls(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _calls(inner)


def _doubts(call: Any, constants: dict[str, Any]) -> Iterator[Doubt]:
    from edgeferry.targets.mil.values import tensor_type

    declared = tensor_type(call.outputs[0].type) if call.outputs else None
    for rule in rules():
        if _holds(rule, call, declared, constants):
            name, shape = call.outputs[0].name if call.outputs else "", declared.shape if declared else ()
            yield Doubt(call.type, name, rule.rule, shape, rule.may, rule.source)


def _holds(rule: Rule, call: Any, declared: "TensorType | None", constants: dict[str, Any]) -> bool:
    if rule.operations is not None and call.type not in rule.operations:
        return False
    if rule.dilation_above is not None:
        return any(each > rule.dilation_above for each in _integers(call, "dilations", constants))
    conditions = (rule.rank_above, rule.dimension_above, rule.open_dimension, rule.data_types)
    if conditions == (None,) * len(conditions):
        return True
    return declared is not None and _shape_or_type_holds(rule, declared)


def _shape_or_type_holds(rule: Rule, declared: "TensorType") -> bool:
    sizes = [size for size in declared.shape if size is not None]
    return (
        (rule.rank_above is not None and len(declared.shape) > rule.rank_above)
        or (rule.dimension_above is not None and any(size > rule.dimension_above for size in sizes))
        or (rule.open_dimension is True and len(sizes) < len(declared.shape))
        or (rule.data_types is not None and declared.data_type in rule.data_types)
    )


def _integers(call: Any, name: str, constants: dict[str, Any]) -> tuple[int, ...]:
    """Return the integers of an input that is a constant of the program; none where it is absent."""
    if name not in call.inputs:
        return ()
    binding = call.inputs[name].arguments[0]
    value = constants.get(binding.name) if binding.name else binding.value
    return () if value is None else tuple(value.immediateValue.tensor.ints.values)
