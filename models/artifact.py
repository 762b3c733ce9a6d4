# SPDX-License-Identifier: Apache-2.0
"""One exported artifact and its manifest: the folder ``build/<model>/<format>/`` with its ``manifest.json``."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final

from edgeferry.models.preprocessing import Preprocessing, preprocessing_of
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, digest, files_below, refuse_other_schema, sha256_of, write_json

# History: 1, the first; 2 holds what an artifact was made from. Its JSON Schema is manifest.schema.json.
SCHEMA: Final = 2
MANIFEST: Final = "manifest.json"
LOG: Final = "export.log"
# The range that each tensor of a full-integer file was quantized in: {"schema": 1, "ranges": {name: [low, high]}}.
RANGES: Final = "ranges.json"
# Files about an artifact, which nobody ships.
ABOUT: Final = frozenset({MANIFEST, LOG, RANGES})
EXPORTS: Final = "exports.json"


@dataclass(frozen=True)
class Tensor:
    """An input or output as the file declares it; ``None`` in the shape is a dynamic size.

    The real values of a quantized tensor are ``(stored - zero_point) * scale``.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    scale: float | None = None
    zero_point: int | None = None


@dataclass(frozen=True)
class Tolerance:
    """How far an artifact's predictions may differ from the Keras model's, and the reason for these limits.

    ``top1_agreement`` is the smallest fraction of all images with the same top-1 class; ``p99_difference`` the difference of any
    probability that 99 % of images do not exceed; ``mean_difference`` the mean over images of each one's largest difference.
    Rounding changes a few images that the Keras model is uncertain of; a mistake changes all of them, which the mean shows even
    where every top-1 class is the same. ``accuracy_loss`` is the largest loss of accuracy that a test may show;
    ``times_explained`` how many times the mean difference may be what rounding to the artifact's precision explains.
    """

    top1_agreement: float
    p99_difference: float
    mean_difference: float
    reason: str
    accuracy_loss: float = 0.01
    times_explained: float = 1.5


@dataclass(frozen=True)
class Artifact:
    """The content of a manifest. ``files`` maps a name below the folder to its sha256 and size in bytes.

    ``precision`` names the yardstick of its difference from the Keras model (``edgeferry.models.yardstick``); ``threshold`` is
    the probability from which a label holds, None where the most probable label is the answer.
    """

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
    made_from: dict[str, Any] = field(default_factory=dict)
    tool_versions: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    calibration_digest: str | None = None
    notes: tuple[str, ...] = ()
    precision: str | None = None
    threshold: float | None = None
    schema: int = SCHEMA

    @property
    def sha256(self) -> str:
        """Return one digest of all files."""
        return digest({name: facts["sha256"] for name, facts in self.files.items()})

    @property
    def bytes(self) -> int:
        """Return the total size of all files."""
        return sum(int(facts["bytes"]) for facts in self.files.values())


def files_of(folder: Path, sha256: Sha256 = sha256_of) -> dict[str, dict[str, Any]]:
    """Return name, sha256 and size of every file of an artifact's folder that is shipped."""
    return {
        path.relative_to(folder).as_posix(): {"sha256": sha256(path), "bytes": path.stat().st_size}
        for path in files_below(folder)
        if path.relative_to(folder).as_posix() not in ABOUT
    }


def write_manifest(artifact: Artifact, folder: Path) -> None:
    """Write ``manifest.json`` into an artifact's folder."""
    write_json(folder / MANIFEST, asdict(artifact))


def read_artifact(folder: Path) -> Artifact:
    """Return the artifact that a folder's manifest describes.

    Raises:
        EdgeError: there is no manifest, it is damaged, or another release of edgeferry wrote it.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise EdgeError("EF-manifest-missing", f"{folder} holds no {MANIFEST}; export it with `make export-all`.")
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        refuse_other_schema(path, fields.get("schema"), SCHEMA, "make export-all")
        return _artifact(fields)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise EdgeError("EF-manifest-damaged", f"{path} cannot be read as a manifest ({error}); export it again.") from None


def _artifact(fields: dict[str, Any]) -> Artifact:
    _refuse_other_types(fields)
    tensors = {
        side: tuple(Tensor(**{**tensor, "shape": tuple(tensor["shape"])}) for tensor in fields[side])
        for side in ("inputs", "outputs")
    }
    return Artifact(
        **{
            **fields,
            **tensors,
            "files": {
                name: {"sha256": str(facts["sha256"]), "bytes": int(facts["bytes"])} for name, facts in fields["files"].items()
            },
            "labels": tuple(fields["labels"]),
            "notes": tuple(fields["notes"]),
            "preprocessing": preprocessing_of(fields["preprocessing"]),
            "tolerance": Tolerance(**fields["tolerance"]),
        }
    )


def _refuse_other_types(fields: dict[str, Any]) -> None:
    """Raise TypeError or ValueError where a manifest holds something of another type than edgeferry writes.

    Raises:
        TypeError: a field is of another type.
        ValueError: the main file is outside of the artifact's folder.
    """
    text, either, number = str, str | None, int | float
    expected: list[tuple[str, Any, Any]] = [
        *((name, fields[name], text) for name in ("format", "kind", "main_file", "source_sha256", "output", "key")),
        *((name, fields.get(name), either) for name in ("calibration_digest", "precision")),
        *((name, each, text) for name in ("labels", "notes") for each in fields[name]),
        *((name, fields[name], dict) for name in ("made_from", "tool_versions", "options", "files")),
        *((f"tool_versions.{name}", each, text) for name, each in fields["tool_versions"].items()),
        *((f"tolerance.{name}", each, text if name == "reason" else number) for name, each in fields["tolerance"].items()),
        *((f"preprocessing.{name}", fields["preprocessing"][name], int) for name in ("height", "width")),
        *((f"preprocessing.{name}", fields["preprocessing"][name], text) for name in ("colour", "resize", "fit")),
        *((f"preprocessing.{name}", each, number) for name in ("mean", "std") for each in fields["preprocessing"][name]),
        *((side, tensor[name], text) for side in ("inputs", "outputs") for tensor in fields[side] for name in ("name", "dtype")),
        *((side, each, int | None) for side in ("inputs", "outputs") for tensor in fields[side] for each in tensor["shape"]),
    ]
    for name, value, kind in expected:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise TypeError(f"{name} is {str(value)[:40]!r}")
    main = PurePosixPath(fields["main_file"])
    if main.is_absolute() or ".." in main.parts:
        raise ValueError(f"main_file is {fields['main_file']!r}, which is not below the folder")


def what_changed(artifact: Artifact, folder: Path, sha256: Sha256 = sha256_of) -> str | None:
    """Return what differs between an artifact's files and its manifest, or None where nothing does."""
    present = files_of(folder, sha256)
    for name, facts in artifact.files.items():
        if name not in present:
            return f"{name} is missing"
        if present[name] != facts:
            return f"{name} is not the file that was exported (its sha256 differs from the manifest's)"
    extra = sorted(set(present) - set(artifact.files))
    return f"{extra[0]} is not in the manifest" if extra else None
