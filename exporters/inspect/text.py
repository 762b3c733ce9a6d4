# SPDX-License-Identifier: Apache-2.0
"""An inspection as lines of text; what a file says of itself is shown without what a terminal would act on."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, Final

from edgeferry.exporters.inspect.record import Facts, Inspection
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.text import plain

KINDS: Final = {
    "tflite": "TF Lite",
    "edgetpu": "TF Lite, compiled for the Edge TPU",
    "onnx": "ONNX",
    "coreml": "Core ML",
    "tfjs": "TensorFlow.js",
}
# A damaged file may name something with all of its bytes.
LONGEST: Final = 160
MOST_LINES: Final = 64


def lines(file: str, inspection: Inspection) -> Iterator[str]:
    """Yield an inspection as text: a fact a line, indented under what it belongs to."""
    yield plain(f"{file}: {KINDS[inspection.kind]}, {inspection.bytes} bytes")
    for side, tensors in (("input", inspection.inputs), ("output", inspection.outputs)):
        yield from _few([f"  {side}: {_tensor(tensor)}" for tensor in tensors])
    yield f"  operations: {sum(each.count for each in inspection.operations)}"
    yield from _few([f"    {each.count} x {each.name}{_version(each.version)}" for each in inspection.operations])
    yield f"  constants: {sum(each.bytes for each in inspection.weights)} bytes"
    yield from _few(
        [f"    {each.dtype}, {each.stored}: {each.bytes} bytes, {each.tensors} in number" for each in inspection.weights]
    )
    yield from map(plain, _facts(inspection.facts))
    yield from (plain(f"  {each.name}: {each.state}: {each.reason}") for each in inspection.checks)


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


def _facts(facts: Facts) -> Iterator[str]:
    """Yield the facts of one kind, each under its own name."""
    own = {name: getattr(facts, name) for name in asdict(facts)}
    for name, value in own.items():
        told = list(map(_value, value)) if isinstance(value, tuple) else [_value(value)]
        shown = "; ".join(told[:MOST_LINES]) + (f"; and {len(told) - MOST_LINES} more" if len(told) > MOST_LINES else "")
        yield f"  {name.replace('_', ' ')}: {shown or 'none'}"


def _value(value: Any) -> str:
    if isinstance(value, Tensor):
        return _tensor(value)
    if isinstance(value, dict):
        return ", ".join(f"{_value(key)} {_value(each)}" for key, each in list(value.items())[:MOST_LINES])
    return "none" if value is None else str(value)[:LONGEST]
