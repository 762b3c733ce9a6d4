# SPDX-License-Identifier: Apache-2.0
"""What can be wrong in a quantized file alone: scales, zero points, integers and integer biases, changed in the file."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.selftest.fault import Fault, impossible, random_of
from edgeferry.benchmarks.selftest.graph import PLACES
from edgeferry.benchmarks.selftest.quantized import onnx, tflite
from edgeferry.benchmarks.selftest.quantized.layer import Layer
from edgeferry.models.artifact import Artifact

OPENERS: Final = (tflite.OPENER, onnx.OPENER)
KINDS: Final = frozenset[str]().union(*(each.formats for each in OPENERS))
INTEGER: Final = frozenset[str]().union(*(each.integer for each in OPENERS))


def _patched(folder: Path, artifact: Artifact, change: Callable[[list[Layer]], None]) -> Artifact:
    file = folder / artifact.main_file
    before = file.read_bytes()
    layers, closed = next(each for each in OPENERS if artifact.format in each.formats).opened(before)
    if not layers:
        raise impossible("the file has no quantized layer")
    change(layers)
    after = closed()
    if after == before:
        raise impossible("the file stays the same")
    file.write_bytes(after)
    return artifact


def _at(layers: list[Layer], place: str, fits: Callable[[Layer], bool], what: str) -> Layer:
    able = [layer for layer in layers if fits(layer)]
    if not able:
        raise impossible(f"no layer of the file has {what}")
    return able[round(PLACES[place] * (len(able) - 1))]


def _scale_one(layers: list[Layer], place: str, name: str, by: float) -> None:
    layer = _at(layers, place, lambda each: len(each.scales) > 1, "one scale per channel")
    layer.scales[random_of(name).integers(len(layer.scales))] *= by


def _shift_scales(layers: list[Layer], place: str) -> None:
    import numpy as np

    layer = _at(layers, place, lambda each: len(each.scales) > 1, "one scale per channel")
    layer.scales[:] = np.roll(layer.scales, 1)


def _scale_all(layers: list[Layer], place: str, by: float) -> None:
    layer = _at(layers, place, lambda each: len(each.scales) > 1, "one scale per channel")
    layer.scales[:] *= by


def _move_zero_point(layers: list[Layer], place: str, by: int) -> None:
    # All operations use the tensor's own zero point, so only what the range no longer holds is lost. It stays a number of 8 bits.
    layer = _at(layers[:-1], place, lambda each: each.zero_point is not None, "a quantized output")
    if layer.zero_point is not None:
        layer.zero_point[:] += by if layer.zero_point[0] + by <= 127 else -by


def _widen_range(layers: list[Layer], place: str, by: float) -> None:
    layer = _at(layers[:-1], place, lambda each: each.output_scale is not None, "a quantized output")
    if layer.output_scale is not None:
        layer.output_scale[:] *= by


def _drop_bias(layers: list[Layer], place: str | None) -> None:
    able = [layer for layer in layers if layer.bias is not None and layer.bias.any()]
    for layer in able if place is None else [_at(able, place, lambda _: True, "an integer bias")]:
        if layer.bias is not None:
            layer.bias[:] = 0


def _shift_integers(layers: list[Layer], place: str | None, by: int) -> None:
    import numpy as np

    for layer in layers if place is None else [_at(layers, place, lambda _: True, "integer weights")]:
        layer.weights[...] = np.clip(layer.weights.astype(np.int16) + by, -127, 127).astype(np.int8)


def _shift_channels(layers: list[Layer], place: str) -> None:
    import numpy as np

    layer = _at(layers, place, lambda _: True, "integer weights")
    layer.weights[...] = np.roll(layer.weights, 1, axis=layer.channel_axis)


def _fault(name: str, family: str, kinds: frozenset[str], change: Callable[..., None], /, **options: Any) -> Fault:
    return Fault(name, family, patch=partial(_patched, change=partial(change, **options)), kinds=kinds)


def _for_each_place() -> Iterator[Fault]:
    for place in ("middle", "first", "last"):
        for by, word in ((2.0, "doubled"), (0.5, "halved"), (1.2, "up 20 %")):
            name = f"one channel's scale {word}, {place} layer"
            yield _fault(name, "channel scales", KINDS, _scale_one, place=place, name=name, by=by)
        yield _fault(f"channel scales shifted, {place} layer", "channel scales", KINDS, _shift_scales, place=place)
        yield _fault(f"all channel scales up 10 %, {place} layer", "channel scales", KINDS, _scale_all, place=place, by=1.1)
        for steps in (64, 16, 4):
            name = f"zero point moved by {steps}, {place} layer"
            yield _fault(name, "zero points", INTEGER, _move_zero_point, place=place, by=steps)
        for by in (4.0, 2.0, 1.5):
            name = f"activation range {by - 1:.0%} too wide, {place} layer"
            yield _fault(name, "activation ranges", INTEGER, _widen_range, place=place, by=by)
        yield _fault(f"integer bias dropped, {place} layer", "integer bias", INTEGER, _drop_bias, place=place)
        for step in (1, 8):
            name = f"integer weights {step} too high, {place} layer"
            yield _fault(name, "integer weights", KINDS, _shift_integers, place=place, by=step)
        yield _fault(f"integer weights of another channel, {place} layer", "integer weights", KINDS, _shift_channels, place=place)


FAULTS = (
    *_for_each_place(),
    _fault("every integer bias dropped", "integer bias", INTEGER, _drop_bias, place=None),
    _fault("every integer weight 1 too high", "integer weights", KINDS, _shift_integers, place=None, by=1),
)
