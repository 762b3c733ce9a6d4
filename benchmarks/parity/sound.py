# SPDX-License-Identifier: Apache-2.0
"""Is an artifact the one that was exported, and what is it judged by? All of it is known before it is run."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeferry.exporters.format import formats, tolerance_of
from edgeferry.models.artifact import Artifact, read_artifact, what_changed
from edgeferry.models.reference import Reference
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, sha256_of


def sound(build: Path, reference: Reference, name: str, sha256: Sha256 = sha256_of) -> tuple[Artifact | None, EdgeError | None]:
    """Return an artifact of a model's folder, None where its manifest cannot be read, and what is wrong with it."""
    folder = build / name
    try:
        artifact = read_artifact(folder)
    except EdgeError as error:
        return None, error
    if artifact.source_sha256 != reference.source_sha256:
        return artifact, EdgeError(
            "EF-artifact-stale", "stale: it was exported from another model than the reference; run `make export-all`"
        )
    changed = what_changed(artifact, folder, sha256)
    return artifact, EdgeError("EF-artifact-changed", f"{changed}; run `make export-all`") if changed else None


def with_tolerance(artifact: Artifact, own: Mapping[str, Mapping[str, float]], reference: Reference) -> Artifact:
    """Return an artifact with the tolerance to judge it by: its format's, with what the config sets, never its manifest's.

    ``own`` is what the config sets, by format and key.

    Raises:
        EdgeError: no format of that name is installed here, or the config sets what is no tolerance.
    """
    form = formats().get(artifact.format)
    if form is None:
        raise EdgeError(
            "EF-format-unknown",
            f"no format {artifact.format} is installed here, so its tolerance is unknown; install what adds it, then check again",
        )
    try:
        return replace(artifact, tolerance=tolerance_of(form, own.get(artifact.format, {}), Path(reference.config).name))
    except TypeError as error:
        raise EdgeError("EF-exports-unreadable", f"the recorded tolerances cannot be read ({error}); export again") from None
