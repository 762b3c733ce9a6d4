# SPDX-License-Identifier: Apache-2.0
"""Operations of a Core ML package that may leave the Neural Engine, by published lists; read on any machine (`edgeferry lint`).

Apple publishes no list, and placement depends on chip, system and sizes: every issue is only possible, and a compute plan on the
device itself decides.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from edgeferry.targets.mil.values import TensorType

# History of the JSON: 1, the first; 2, issues and flagged were doubts and doubtful.
SCHEMA: Final = 2
RULES: Final = Path(__file__).parent / "placement.json"
# Not computed at inference, or always on the CPU: constants, and the labels.
SKIPPED: Final = ("const", "classify")


@dataclass(frozen=True)
class Rule:
    """One entry of a published list: which operations, and under which condition; None is no condition."""

    rule: str
    message: str
    source: str
    operations: tuple[str, ...] | None = None
    dilation_above: int | None = None
    rank_above: int | None = None
    dimension_above: int | None = None
    open_dimension: bool | None = None
    data_types: tuple[str, ...] | None = None


@dataclass(frozen=True)
class PlacementIssue:
    """An operation that a rule applies to: its result's name and type, the rule, its message, and its source."""

    operation: str
    name: str
    rule: str
    shape: tuple[int | None, ...]
    message: str
    source: str


@dataclass(frozen=True)
class Placement:
    """The issues found in a package, and its number of operations."""

    operations: int
    issues: tuple[PlacementIssue, ...]

    @property
    def flagged(self) -> int:
        """Return how many operations have an issue."""
        return len({issue.name for issue in self.issues})

    def as_json(self) -> dict[str, Any]:
        """Return the placement ready for JSON."""
        return {"schema": SCHEMA, "operations": self.operations, "flagged": self.flagged, "issues": [*map(asdict, self.issues)]}


@cache
def rules() -> tuple[Rule, ...]:
    """Return the published lists as rules."""
    record = json.loads(RULES.read_text(encoding="utf-8"))
    return tuple(_rule(each) for each in record["rules"])


def _rule(record: dict[str, Any]) -> Rule:
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in record.items()}
    return Rule(**fields)


def placement(path: Path) -> Placement:
    """Return which operations of a package may leave the Neural Engine, in the program's order.

    Raises:
        EdgeError: it is not a package, or it is damaged, or coremltools, which has its protobuf messages, is not installed.
        Unsupported: it holds no ML Program.
    """
    from edgeferry.targets.mil.package import open_package

    block = open_package(path).block
    calls = [call for call in _calls(block) if call.type not in SKIPPED and not call.type.startswith("constexpr_")]
    constants = {each.outputs[0].name: each.attributes["val"] for each in _calls(block) if each.type == "const"}
    return Placement(len(calls), tuple(issue for call in calls for issue in _issues(call, constants)))


def lines(path: Path, found: Placement) -> Iterator[str]:
    """Yield the placement as text: one line per issue, and a summary."""
    for each in found.issues:
        shape = " x ".join("?" if size is None else str(size) for size in each.shape)
        yield f"{path}: {each.operation} {each.name} ({shape or 'scalar'}): {each.rule}: {each.message}; source: {each.source}"
    yield (
        f"{path}: {found.flagged} of {found.operations} operations may leave the Neural Engine, by published lists; "
        "only a compute plan on the device decides which do (`edgeferry check --target coreml-ane` on a Mac)"
    )


def _calls(block: Any) -> Iterator[Any]:
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _calls(inner)


def _issues(call: Any, constants: dict[str, Any]) -> Iterator[PlacementIssue]:
    from edgeferry.targets.mil.values import tensor_type

    declared = tensor_type(call.outputs[0].type) if call.outputs else None
    for rule in rules():
        if _applies(rule, call, declared, constants):
            name, shape = call.outputs[0].name if call.outputs else "", declared.shape if declared else ()
            yield PlacementIssue(call.type, name, rule.rule, shape, rule.message, rule.source)


def _applies(rule: Rule, call: Any, declared: "TensorType | None", constants: dict[str, Any]) -> bool:
    if rule.operations is not None and call.type not in rule.operations:
        return False
    if rule.dilation_above is not None:
        return any(each > rule.dilation_above for each in _integers(call, "dilations", constants))
    conditions = (rule.rank_above, rule.dimension_above, rule.open_dimension, rule.data_types)
    if conditions == (None,) * len(conditions):
        return True
    return declared is not None and _shape_or_type_applies(rule, declared)


def _shape_or_type_applies(rule: Rule, declared: "TensorType") -> bool:
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
