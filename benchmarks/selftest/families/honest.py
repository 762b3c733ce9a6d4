# SPDX-License-Identifier: Apache-2.0
"""No faults: the same model exported in other ways, which has to pass."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from edgeferry.benchmarks.selftest.fault import HONEST, Fault, impossible, random_of
from edgeferry.exporters.format import formats
from edgeferry.exporters.graph.source import Source

if TYPE_CHECKING:
    from numpy.typing import NDArray

CALIBRATED: Final = frozenset(name for name, form in formats().items() if form.calibrated and form.after is None)
# A calibration set of fewer images is none.
FEWEST: Final = 50


def _again(source: Source) -> Source:
    return replace(source)


def _calibrated(source: Source, name: str, share: float) -> Source:
    """Return the classifier with some of its calibration images, drawn at random."""
    pixels = source.calibration
    count = max(FEWEST, round(share * len(pixels)))
    if count >= len(pixels):
        raise impossible(f"{len(pixels)} calibration images are too few to take some of them")
    return _with_calibration(source, pixels[random_of(name).permutation(len(pixels))[:count]])


def _with_calibration(source: Source, pixels: "NDArray[Any]") -> Source:
    other = replace(source)
    # A cached property keeps its value here.
    vars(other)["calibration"] = pixels
    return other


def _with_options(source: Source, table: str, **options: object) -> Source:
    spec = source.spec
    tables = dict(spec.format_options) | {table: json.dumps(spec.export_table(table) | options)}
    return replace(source, spec=replace(spec, format_options=tuple(tables.items())))


def _honest(name: str, change: Callable[..., Source], kinds: frozenset[str] | None = None, /, **options: Any) -> Fault:
    return Fault(name, HONEST, partial(change, **options) if options else change, kinds=kinds, shows="nowhere")


def _calibrations() -> Iterator[Fault]:
    for number in range(1, 9):
        share = (0.5, 0.75, 0.3)[number % 3]
        name = f"calibrated with {share:.0%} of the images, {number}"
        yield _honest(name, _calibrated, CALIBRATED, name=name, share=share)


def _option(kind: str, name: str, value: object) -> Fault:
    table = "tflite-int8" if kind == "tflite-int8" else kind
    return _honest(f"{name} = {value}", _with_options, frozenset({kind}), table=table, **{name: value})


FAULTS = (
    _honest("exported again", _again),
    *_calibrations(),
    _option("tflite-int8", "dense", "convolution"),
    _option("tflite-int8", "dense", "per-channel"),
    _option("tflite-int8", "input_output", "int8"),
    *(_option("onnx", "opset", opset) for opset in (13, 14, 15, 16, 18)),
    _option("tfjs", "shard_bytes", 65536),
    _option("tfjs", "structured_output", True),  # noqa: FBT003 - an option's value
    *(_option("coreml", "target", target) for target in ("iOS17", "iOS18")),
)
