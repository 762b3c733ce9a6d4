# SPDX-License-Identifier: Apache-2.0
"""The general part of an inspection, which needs no reader: what an artifact's manifest records, compared with its files."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeferry.exporters.readers.record import Check, Inspection
from edgeferry.models.artifact import Artifact, what_changed


@dataclass(frozen=True)
class ManifestFacts:
    """Of an artifact without a reader: ``files`` with their bytes, how many ``labels``, and what it was exported with."""

    format: str
    main_file: str
    files: Mapping[str, int]
    output: str
    labels: int
    options: Mapping[str, Any]
    tolerance: Mapping[str, Any]
    tool_versions: Mapping[str, str]
    notes: tuple[str, ...]


def inspect_manifest(folder: Path, artifact: Artifact) -> Inspection:
    """Return what the manifest records; operations and weights are None, and the files' digests are checked."""
    return Inspection(
        kind=artifact.kind,
        bytes=artifact.bytes,
        operations=None,
        inputs=artifact.inputs,
        outputs=artifact.outputs,
        weights=None,
        facts=ManifestFacts(
            format=artifact.format,
            main_file=artifact.main_file,
            files={name: int(facts["bytes"]) for name, facts in artifact.files.items()},
            output=artifact.output,
            labels=len(artifact.labels),
            options=dict(artifact.options),
            tolerance=asdict(artifact.tolerance),
            tool_versions=dict(artifact.tool_versions),
            notes=artifact.notes,
        ),
        checks=(_files_check(artifact, folder),),
    )


def _files_check(artifact: Artifact, folder: Path) -> Check:
    changed = what_changed(artifact, folder)
    if changed is not None:
        return Check("files", "failed", f"{changed}; export it again")
    return Check("files", "passed", f"{len(artifact.files)} with the sha256 that the manifest records")
