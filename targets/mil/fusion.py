# SPDX-License-Identifier: Apache-2.0
"""Operations fused for speed alone: the results are the same to the bit, rounded to float16 or not."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from edgeferry.targets.mil.arrays import Array
from edgeferry.targets.mil.evaluation import ProgramStep
from edgeferry.targets.mil.operations import MAKE_THEIR_OWN, OVERWRITING
from edgeferry.targets.mil.operations.convolution import conv_and

# Around a convolution's input, [n, channels, *spatial], nothing is padded on the first two axes.
FIRST_SPATIAL: Final = 2


def fused(steps: Sequence[ProgramStep], kept: Sequence[str]) -> tuple[ProgramStep, ...]:
    """Return the steps of a program, fused where possible; ``kept`` are the results that it outputs."""
    reads = Counter(name for step in steps for name in _read(step))
    own = frozenset(name for step in steps for name, _ in step.outputs if reads[name] == 1 and name not in kept)
    return _overwriting(_padding(list(steps), own), own)


def _read(step: ProgramStep) -> Iterator[str]:
    for source in step.named.values():
        yield from (source,) if isinstance(source, str) else (name for name in source if name)


def _padding(steps: list[ProgramStep], own: frozenset[str]) -> list[ProgramStep]:
    """Return the steps, with zero padding before a convolution done by the convolution itself."""
    pads = {step.name: step for step in steps if step.name in own and _pads_zeros(step)}
    changed, done = [], set()
    for step in steps:
        pad = pads.get(str(step.named.get("x")))
        if pad is None or step.operation != "conv" or not _takes_pads(step):
            changed.append(step)
            continue
        done.add(pad.name)
        around = np.ravel(pad.constants["pad"])[2 * FIRST_SPATIAL :]
        more = step.constants["pad"] if step.constants.get("pad_type") == "custom" else 0
        padding = {"pad_type": "custom", "pad": around + more}
        released = (*pad.released, *(name for name in step.released if name != pad.name))
        named = {**step.named, "x": pad.named["x"]}
        changed.append(replace(step, constants={**step.constants, **padding}, named=named, released=released))
    return [step for step in changed if step.name not in done]


def _pads_zeros(step: ProgramStep) -> bool:
    """Return whether a step pads only spatial axes, with zeros, by constant numbers."""
    if step.operation != "pad" or set(step.named) != {"x"} or step.constants.get("mode", "constant") != "constant":
        return False
    around, value = np.ravel(step.constants["pad"]), step.constants.get("constant_val", 0)
    return len(around) > 2 * FIRST_SPATIAL and not around[: 2 * FIRST_SPATIAL].any() and float(value) == 0


def _takes_pads(conv: ProgramStep) -> bool:
    """Return whether a convolution pads nothing, or by constant numbers."""
    if {"pad_type", "pad"} & conv.named.keys():
        return False
    kind = conv.constants.get("pad_type", "valid")
    return kind == "valid" or (kind == "custom" and "pad" in conv.constants)


def _overwriting(steps: list[ProgramStep], own: frozenset[str]) -> tuple[ProgramStep, ...]:
    """Return the steps, with activations written over their input where nothing else reads it, or done by the convolution before.

    Rounding in between changes nothing: the limits of these activations, 0 and 6, are float16 numbers.
    """
    place = {step.name: at for at, step in enumerate(steps)}
    changed = list(steps)
    for at, step in enumerate(steps):
        x = step.named.get("x")
        if step.operation not in OVERWRITING or not isinstance(x, str) or x not in own or x not in place:
            continue
        function, maker = OVERWRITING[step.operation], steps[place[x]]
        if maker.operation == "conv":
            changed[place[x]] = replace(changed[place[x]], function=partial(conv_and, function))
        if maker.operation in MAKE_THEIR_OWN:
            changed[at] = replace(step, function=_done if maker.operation == "conv" else function)
    return tuple(changed)


def _done(x: Array) -> Any:
    return x
