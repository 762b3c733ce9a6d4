# SPDX-License-Identifier: Apache-2.0
"""What a fault is, and which there are: a module below ``edgeferry.benchmarks.selftest`` that binds ``FAULTS`` adds some."""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import edgeferry.benchmarks.selftest
from edgeferry.models.artifact import Artifact
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.registry import records_in, refuse_unknown

if TYPE_CHECKING:
    import numpy as np

    from edgeferry.exporters.graph.source import Source

# Where a fault shows. answers: in the predictions for single images. elsewhere: only in what such predictions cannot show, such
# as metadata, a batch, or a manifest. nowhere: it is none, an honest artifact that was made in another way.
Shows = Literal["answers", "elsewhere", "nowhere"]
HONEST: Final = "honest"


@dataclass(frozen=True)
class Fault:
    """One way in which an artifact can be wrong; ``shows`` is 'nowhere' for one way to make it honestly.

    ``source(source)`` returns the classifier that the format's own exporter then writes; without it the artifact in the build
    folder is copied. ``patch(folder, artifact)`` changes the files in a folder and returns the manifest, before the digests of
    the files are put in order. ``kinds`` names the kinds of artifact, or the formats, that it can be planted in; None is every
    one that is written from a graph. Either function raises ``impossible(...)`` where a model or a file has no place for it.
    """

    name: str
    family: str
    source: "Callable[[Source], Source] | None" = None
    patch: Callable[[Path, Artifact], Artifact] | None = None
    kinds: frozenset[str] | None = None
    shows: Shows = "answers"

    def fits(self, artifact: Artifact) -> bool:
        """Return whether it can be planted in an artifact, by its kind or format."""
        return artifact.kind != "keras" if self.kinds is None else bool(self.kinds & {artifact.kind, artifact.format})


def impossible(why: str) -> EdgeError:
    """Return the error of a fault that a model or a file has no place for."""
    return EdgeError("EF-fault-impossible", f"this fault cannot be planted: {why}")


def random_of(name: str) -> "np.random.Generator":
    """Return the random numbers of a fault: the same each time, others for every name."""
    import numpy as np

    return np.random.default_rng(zlib.crc32(name.encode()))


@cache
def faults() -> dict[str, Fault]:
    """Return every fault by name, in the order in which they are planted: some of every family before more of any.

    The first of every family come first, then the second of every family, and so on.
    """
    found = [fault for _, fault in records_in(edgeferry.benchmarks.selftest, "FAULTS")]
    rank: dict[str, int] = {}
    ordered = []
    for number, fault in enumerate(found):
        rank[fault.family] = rank.get(fault.family, -1) + 1
        ordered.append((rank[fault.family], number, fault))
    return {fault.name: fault for _, _, fault in sorted(ordered, key=lambda each: each[:2])}


def choose_faults(families: Sequence[str]) -> tuple[Fault, ...]:
    """Return the faults of some families, or all.

    Raises:
        EdgeError: a name is no family of faults.
    """
    known = list(dict.fromkeys(fault.family for fault in faults().values()))
    refuse_unknown(families, known, "family of faults")
    return tuple(fault for fault in faults().values() if not families or fault.family in families)
