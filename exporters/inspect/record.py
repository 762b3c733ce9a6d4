# SPDX-License-Identifier: Apache-2.0
"""What inspecting a file tells: the part that all kinds share, and one record a kind."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from edgeferry.models.artifact import Tensor

# History: 1, the first. Its JSON Schema is inspection.schema.json.
SCHEMA: Final = 1


@dataclass(frozen=True)
class OperationCount:
    """How often an operation stands in a file; ``version`` is None where the format has no versions of single operations."""

    name: str
    version: int | None
    count: int


@dataclass(frozen=True)
class Weights:
    """Constants of one type in a file; ``stored`` is how: "a scale a tensor", "as they are" and the like."""

    dtype: str
    stored: str
    tensors: int
    bytes: int


@dataclass(frozen=True)
class Check:
    """What was held against another file, and whether it fits."""

    name: str
    state: Literal["passed", "failed", "not checked"]
    reason: str


@dataclass(frozen=True)
class TfliteFacts:
    """Of a TF Lite file: ``metadata`` are names of entries, ``labels`` how many its archive holds (None: it holds none)."""

    description: str
    metadata: tuple[str, ...]
    labels: int | None
    tensor_types: dict[str, int]


@dataclass(frozen=True)
class EdgetpuFacts:
    """Of a compiled file: what the Edge TPU is sent, in bytes, and what is left to the CPU.

    ``instruction_bytes`` run for every image, ``caching_instruction_bytes`` once, to load the parameters that stay on the chip.
    Files compiled together have one ``caching_token``.
    """

    cpu_operations: tuple[str, ...]
    min_runtime_version: int
    chips: tuple[str, ...]
    executables: tuple[str, ...]
    on_chip_bytes: int
    off_chip_bytes: int
    instruction_bytes: int
    caching_instruction_bytes: int
    scratch_bytes: int
    caching_token: str | None
    layer_inputs: tuple[Tensor, ...]
    layer_outputs: tuple[Tensor, ...]
    description: str
    metadata: tuple[str, ...]
    labels: int | None


@dataclass(frozen=True)
class OnnxFacts:
    """Of an ONNX file; ``external`` are initializers whose data stands in other files, which are not opened."""

    ir_version: int
    opsets: dict[str, int]
    producer: str
    metadata: tuple[str, ...]
    external: int


@dataclass(frozen=True)
class CoremlFacts:
    """Of a Core ML package: ``system`` is the oldest iOS it runs on, ``colour_spaces`` are those of its images by input."""

    specification_version: int
    system: str
    type: str
    colour_spaces: dict[str, str]
    classes: int | None
    metadata: tuple[str, ...]


@dataclass(frozen=True)
class TfjsFacts:
    """Of a TensorFlow.js model: its weight files with their bytes, and the keys of its own metadata."""

    format: str
    shards: dict[str, int]
    metadata: tuple[str, ...]


Facts = TfliteFacts | EdgetpuFacts | OnnxFacts | CoremlFacts | TfjsFacts


@dataclass(frozen=True)
class Inspection:
    """What a file says of itself, and what was held against another; ``bytes`` is the size of all its files."""

    kind: Literal["tflite", "edgetpu", "onnx", "coreml", "tfjs"]
    bytes: int
    operations: tuple[OperationCount, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    weights: tuple[Weights, ...]
    facts: Facts
    checks: tuple[Check, ...] = ()

    @property
    def failed(self) -> bool:
        """Say whether a check failed."""
        return any(check.state == "failed" for check in self.checks)


def json_of(inspection: Inspection, file: str) -> dict[str, Any]:
    """Return an inspection as it leaves the program; a number that is not finite is null."""
    told: dict[str, Any] = _finite({"schema": SCHEMA, "file": file, **asdict(inspection)})
    return told


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
    """Return constants, each a type, how it is stored and its bytes, summed by type and storage; the largest first."""
    sums: dict[tuple[str, str], tuple[int, int]] = {}
    for dtype, stored, size in constants:
        tensors, total = sums.get((dtype, stored), (0, 0))
        sums[dtype, stored] = tensors + 1, total + size
    ordered = sorted(sums.items(), key=lambda item: (-item[1][1], item[0]))
    return tuple(Weights(dtype, stored, tensors, total) for (dtype, stored), (tensors, total) in ordered)
