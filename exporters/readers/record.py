# SPDX-License-Identifier: Apache-2.0
"""The record that inspecting a file returns: the part that all kinds share; what only one kind has is its reader's ``facts``."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from edgeferry.models.artifact import Tensor

# History: 1, the first. 2: kind is any string, facts any object; operations and weights may be null; "stored" reworded.
# Its JSON Schema is inspect/inspection.schema.json.
SCHEMA: Final = 2
# How constants are stored that are neither quantized nor compressed.
AS_IS: Final = "as is"


@dataclass(frozen=True)
class OperationCount:
    """How often an operation occurs in a file; ``version`` is None where the format has no versions of single operations."""

    name: str
    version: int | None
    count: int


@dataclass(frozen=True)
class Weights:
    """Constants of one type in a file; ``stored`` is how: "as is", "per-tensor", "per-channel" and the like."""

    dtype: str
    stored: str
    tensors: int
    bytes: int


@dataclass(frozen=True)
class Check:
    """One comparison of a file with another, or with what it says of itself, and its result."""

    name: str
    state: Literal["passed", "failed", "not checked"]
    reason: str


@dataclass(frozen=True)
class FileMetadata:
    """What a file says of itself: its labels, what its output is, and how an image becomes its input.

    None is what the file does not name. ``preprocessing`` holds those fields of Preprocessing that it names.
    """

    labels: tuple[str, ...] | None = None
    output: str | None = None
    preprocessing: Mapping[str, Any] = field(default_factory=dict)

    def values(self) -> dict[str, Any]:
        """Return what it names, by key."""
        named = {"labels": self.labels, "output": self.output, **self.preprocessing}
        return {key: value for key, value in named.items() if value is not None}


@dataclass(frozen=True)
class Inspection:
    """What a file holds, and how it compares with others; ``bytes`` is the size of all its files.

    ``facts`` is a frozen dataclass of the reader's own, with what only this kind has. ``operations`` and ``weights`` are None
    where they were not read.
    """

    kind: str
    bytes: int
    operations: tuple[OperationCount, ...] | None
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: tuple[Weights, ...] | None
    facts: Any
    checks: tuple[Check, ...] = ()

    @property
    def failed(self) -> bool:
        """Return whether a check failed."""
        return any(check.state == "failed" for check in self.checks)


def json_of(inspection: Inspection, file: str) -> dict[str, Any]:
    """Return an inspection as it leaves the program; a number that is not finite is null."""
    fields: dict[str, Any] = _finite({"schema": SCHEMA, "file": file, **asdict(inspection)})
    return fields


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def counted(operations: Iterable[tuple[str, int | None]]) -> tuple[OperationCount, ...]:
    """Return how often each operation of a version occurs, the most frequent first."""
    counts = Counter(operations)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0][0], item[0][1] or 0))
    return tuple(OperationCount(name, version, count) for (name, version), count in ordered)


def weighed(constants: Iterable[tuple[str, str, int]]) -> tuple[Weights, ...]:
    """Return constants, each given as (type, how it is stored, bytes), summed by type and storage; the largest first."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for dtype, stored, size in constants:
        tensors, total = sums.get((dtype, stored), (0, 0))
        sums[dtype, stored] = tensors + 1, total + size
    ordered = sorted(sums.items(), key=lambda item: (-item[1][1], item[0]))
    return tuple(Weights(dtype, stored, tensors, total) for (dtype, stored), (tensors, total) in ordered)
