# SPDX-License-Identifier: Apache-2.0
"""What a file or a manifest says of itself, wrong: predictions for prepared images cannot show it."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from edgeferry.benchmarks.selftest.fault import Fault, impossible
from edgeferry.benchmarks.selftest.graph import with_input
from edgeferry.exporters.format import formats
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.readers.reader import readers
from edgeferry.models.artifact import Artifact, Tolerance
from edgeferry.models.preprocessing import Preprocessing

NAMED: Final = {reader.kind: reader.named for reader in readers().values() if reader.metadata is not None}
WITH_METADATA: Final = frozenset(form.kind for form in formats().values() if form.after is None and form.kind in NAMED)
# Nothing of these is computed with the preprocessing that the exporter is handed.
UNCALIBRATED: Final = frozenset(
    name for name, form in formats().items() if form.kind in WITH_METADATA - {"coreml"} and not form.calibrated
)
DESCRIBED: Final = frozenset(name for name in UNCALIBRATED if {"resize", "fit"} <= NAMED[formats()[name].kind])


def _doubled_std(how: Preprocessing) -> Preprocessing:
    return replace(how, std=tuple(2 * each for each in how.std))


def _other_mean(how: Preprocessing) -> Preprocessing:
    return replace(how, mean=tuple(each + 20 for each in how.mean))


def _other_resize(how: Preprocessing) -> Preprocessing:
    return replace(how, resize="box" if how.resize == "nearest" else "nearest")


def _other_fit(how: Preprocessing) -> Preprocessing:
    return replace(how, fit="pad" if how.fit == "crop" else "crop")


def _other_colour(how: Preprocessing) -> Preprocessing:
    if how.colour == "gray":
        raise impossible("the images are gray")
    return replace(how, colour="bgr" if how.colour == "rgb" else "rgb")


def _exchanged(labels: tuple[str, ...]) -> tuple[str, ...]:
    return (labels[1], labels[0], *labels[2:])


def _written_with(source: Source, change: Callable[[Preprocessing], Preprocessing]) -> Source:
    return replace(source, spec=replace(source.spec, preprocessing=change(source.spec.preprocessing)))


def _labelled_otherwise(source: Source) -> Source:
    return replace(source, spec=replace(source.spec, labels=_exchanged(source.spec.labels)))


def _in_file(name: str, change: Callable[[Source], Source], kinds: frozenset[str]) -> Fault:
    """Return the fault of a file whose manifest is right: planting puts labels and preprocessing of the manifest in order."""
    return Fault(f"{name} in the file", "metadata", change, kinds=kinds, shows="elsewhere")


def _manifest(_folder: Path, artifact: Artifact, change: Callable[[Artifact], dict[str, Any]]) -> Artifact:
    return replace(artifact, **change(artifact))


def _in_manifest(name: str, change: Callable[[Artifact], dict[str, Any]]) -> Fault:
    return Fault(f"{name} in the manifest", "manifest", patch=partial(_manifest, change=change), shows="elsewhere")


def _preprocessing(change: Callable[[Preprocessing], Preprocessing]) -> Callable[[Artifact], dict[str, Any]]:
    return lambda artifact: {"preprocessing": change(artifact.preprocessing)}


FAULTS = (
    _in_file("std doubled", partial(_written_with, change=_doubled_std), UNCALIBRATED),
    _in_file("other resize", partial(_written_with, change=_other_resize), DESCRIBED),
    _in_file("two labels exchanged", _labelled_otherwise, WITH_METADATA),
    _in_file("other fit", partial(_written_with, change=_other_fit), DESCRIBED),
    _in_file("other colour order", partial(_written_with, change=_other_colour), UNCALIBRATED),
    _in_file("other mean", partial(_written_with, change=_other_mean), UNCALIBRATED),
    _in_manifest("other resize", _preprocessing(_other_resize)),
    Fault(
        "input doubled, and any answer tolerated by the manifest",
        "manifest",
        lambda source: with_input(source, lambda image: image * 2.0),
        partial(_manifest, change=lambda _: {"tolerance": Tolerance(0.0, 1.0, 1.0, "anything", 1.0, 1e9)}),
    ),
    _in_manifest("std doubled", _preprocessing(_doubled_std)),
    _in_manifest("other fit", _preprocessing(_other_fit)),
    _in_manifest("two labels exchanged", lambda artifact: {"labels": _exchanged(artifact.labels)}),
    _in_manifest("another model", lambda _: {"source_sha256": "0" * 64}),
)
