# SPDX-License-Identifier: Apache-2.0
"""What a format is, and which there are: the folder is the registry."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import edgeferry.exporters
from edgeferry.models.artifact import Tensor, Tolerance
from edgeferry.models.system.registry import records_in, refuse_unknown

if TYPE_CHECKING:
    from pathlib import Path

    from edgeferry.exporters.graph.source import Source


@dataclass(frozen=True)
class Written:
    """What an exporter tells of the file it wrote, all of it read back from that file.

    ``output`` is set where the file answers otherwise than the model: 'probabilities' of a model of logits.
    """

    main_file: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    notes: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    output: str | None = None


def _always() -> str | None:
    return None


@dataclass(frozen=True)
class Format:
    """One form a classifier is exported to.

    ``write(source, folder)`` writes the files into an empty folder; the framework is imported inside it. ``kind`` says which
    targets read it. ``tools`` are the distributions whose versions it follows from. ``missing()`` says why it cannot be
    written on this machine and how to get what it needs, or None. ``after`` names the format whose artifact it starts from.
    ``identity()`` tells which program outside Python writes it, by a digest, or None; another one makes the artifact stale.
    A format that is not ``by_default`` is written when it is named.
    """

    name: str
    kind: str
    summary: str
    tolerance: Tolerance
    write: "Callable[[Source, Path], Written]"
    tools: tuple[str, ...]
    calibrated: bool = False
    after: str | None = None
    missing: Callable[[], str | None] = _always
    identity: Callable[[], str | None] = _always
    by_default: bool = True


@cache
def formats() -> dict[str, Format]:
    """Return every format by name, in the order they are made; imports no framework."""
    found: list[Format] = records_in(edgeferry.exporters, "FORMATS")
    return {form.name: form for form in sorted(found, key=lambda form: (form.after is not None, form.name))}


def choose(names: tuple[str, ...] | None) -> tuple[Format, ...]:
    """Return the formats named, or all that are asked by default, in the order they are made.

    Raises:
        EdgeError: a name is not a format.
    """
    known = formats()
    refuse_unknown(names or (), known, "format")
    return tuple(form for form in known.values() if (form.by_default if names is None else form.name in names))
