# SPDX-License-Identifier: Apache-2.0
"""An inspection as lines of text; characters of a file's own strings that a terminal would act on are replaced."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, Final

from edgeferry.exporters.readers.reader import readers
from edgeferry.exporters.readers.record import Inspection
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.text import plain

# A damaged file may have a name as long as itself.
LONGEST: Final = 160
MOST_LINES: Final = 64


def lines(file: str, inspection: Inspection) -> Iterator[str]:
    """Yield an inspection as text: one fact per line, indented under what it belongs to."""
    yield plain(f"{file}: {_title(inspection.kind)}, {inspection.bytes} bytes")
    for side, tensors in (("input", inspection.inputs), ("output", inspection.outputs)):
        yield from _few([f"  {side}: {_tensor(tensor)}" for tensor in tensors])
    yield from _operations(inspection)
    yield from _weights(inspection)
    yield from map(plain, _facts(inspection.facts))
    yield from (plain(f"  {each.name}: {each.state}: {each.reason}") for each in inspection.checks)


def _title(kind: str) -> str:
    reader = readers().get(kind)
    return kind if reader is None else reader.title


def _operations(inspection: Inspection) -> Iterator[str]:
    if inspection.operations is None:
        yield "  operations: not read"
        return
    yield f"  operations: {sum(each.count for each in inspection.operations)}"
    yield from _few([f"    {each.count} x {each.name}{_version(each.version)}" for each in inspection.operations])


def _weights(inspection: Inspection) -> Iterator[str]:
    if inspection.weights is None:
        yield "  constants: not read"
        return
    yield f"  constants: {sum(each.bytes for each in inspection.weights)} bytes"
    yield from _few([f"    {each.dtype}, {each.stored}: {each.bytes} bytes in {each.tensors}" for each in inspection.weights])


def _few(many: list[str]) -> Iterator[str]:
    for line in many[:MOST_LINES]:
        yield plain(line)
    if len(many) > MOST_LINES:
        yield f"    and {len(many) - MOST_LINES} more"


def _version(version: int | None) -> str:
    return "" if version is None else f", version {version}"


def _tensor(tensor: Tensor) -> str:
    shape = " x ".join("?" if size is None else str(size) for size in tensor.shape)
    quantized = "" if tensor.scale is None else f", scale {tensor.scale:.9g}, zero point {tensor.zero_point}"
    return f"{tensor.name[:LONGEST]}, {tensor.dtype}, {shape or 'no shape'}{quantized}"


def _facts(facts: Any) -> Iterator[str]:
    """Yield the facts of one kind, each under the name of its field."""
    for name in (field.name for field in fields(facts)):
        value = getattr(facts, name)
        values = list(map(_value, value)) if isinstance(value, tuple) else [_value(value)]
        more = f"; and {len(values) - MOST_LINES} more" if len(values) > MOST_LINES else ""
        yield f"  {name.replace('_', ' ')}: {'; '.join(values[:MOST_LINES]) + more or 'none'}"


def _value(value: Any) -> str:
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, Mapping):
        return ", ".join(f"{_value(key)} {_value(each)}" for key, each in list(value.items())[:MOST_LINES])
    return "none" if value is None else str(value)[:LONGEST]
