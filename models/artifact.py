# SPDX-License-Identifier: Apache-2.0
"""One exported artifact and what is known of it: the folder ``build/<model>/<format>/`` with its ``manifest.json``."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from edgeferry.models.preprocessing import Preprocessing, preprocessing_of
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest, files_below, sha256_of, write_json

# History: 1, the first. Its JSON Schema is manifest.schema.json.
SCHEMA: Final = 1
MANIFEST: Final = "manifest.json"
LOG: Final = "export.log"
EXPORTS: Final = "exports.json"


@dataclass(frozen=True)
class Tensor:
    """An input or output as the file declares it; ``None`` in the shape is a size left open.

    A quantized tensor stands for ``(stored - zero_point) * scale``.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact may decide and answer differently from the original, and why that far.

    ``top1_agreement`` is the smallest fraction of golden images with the same answer; ``max_difference`` the largest difference
    of any probability; ``mean_difference`` the mean over images of each one's largest. A rounding moves a few images that the
    original is uncertain of; a mistake moves all, which the mean shows though every answer be the same.
    """

    top1_agreement: float
    max_difference: float
    mean_difference: float
    reason: str


@dataclass(frozen=True)
class Artifact:
    """What a manifest says. ``files`` maps a name below the folder to its sha256 and size in bytes."""

    format: str
    kind: str
    main_file: str
    source_sha256: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    output: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    tolerance: Tolerance
    files: Mapping[str, Mapping[str, Any]]
    key: str
    tool_versions: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    calibration_digest: str | None = None
    notes: tuple[str, ...] = ()
    schema: int = SCHEMA

    @property
    def sha256(self) -> str:
        """Return one digest of all its files."""
        return digest({name: facts["sha256"] for name, facts in self.files.items()})

    @property
    def bytes(self) -> int:
        """Return the size of all its files together."""
        return sum(int(facts["bytes"]) for facts in self.files.values())


def files_of(folder: Path) -> dict[str, dict[str, Any]]:
    """Return name, sha256 and size of every file of an artifact's folder, manifest and log apart."""
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256_of(path), "bytes": path.stat().st_size}
        for path in files_below(folder)
        if path.relative_to(folder).as_posix() not in {MANIFEST, LOG}
    }


def write_manifest(artifact: Artifact, folder: Path) -> None:
    """Write ``manifest.json`` into an artifact's folder."""
    write_json(folder / MANIFEST, asdict(artifact))


def read_artifact(folder: Path) -> Artifact:
    """Return what the manifest in a folder says.

    Raises:
        EdgeError: there is none, or it is not one of this schema.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise EdgeError(f"{folder} holds no {MANIFEST}; export it with `make export-all`.")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        if told.get("schema") != SCHEMA:
            raise EdgeError(f"{path} has schema {told.get('schema')!r}, this version reads {SCHEMA}; export it anew.")
        return _artifact(told)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise EdgeError(f"{path} cannot be read as a manifest ({error}); export it anew.") from None


def _artifact(told: dict[str, Any]) -> Artifact:
    tensors = {
        side: tuple(Tensor(**{**tensor, "shape": tuple(tensor["shape"])}) for tensor in told[side])
        for side in ("inputs", "outputs")
    }
    return Artifact(
        **{
            **told,
            **tensors,
            "files": {
                name: {"sha256": str(facts["sha256"]), "bytes": int(facts["bytes"])} for name, facts in told["files"].items()
            },
            "labels": tuple(told["labels"]),
            "notes": tuple(told["notes"]),
            "preprocessing": preprocessing_of(told["preprocessing"]),
            "tolerance": Tolerance(**told["tolerance"]),
        }
    )


def what_changed(artifact: Artifact, folder: Path) -> str | None:
    """Return what differs between an artifact's files and its manifest, or None where nothing does."""
    present = files_of(folder)
    for name, facts in artifact.files.items():
        if name not in present:
            return f"{name} is missing"
        if present[name] != facts:
            return f"{name} is not the file that was exported (its sha256 differs from the manifest's)"
    extra = sorted(set(present) - set(artifact.files))
    return f"{extra[0]} does not belong to it" if extra else None
