# SPDX-License-Identifier: Apache-2.0
"""What every artifact is checked against: golden images, their labels and the Keras model's scores, computed once."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgeferry.models.audit.finding import AuditFinding, findings_of
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import Decision, decision_of
from edgeferry.models.images import find_images
from edgeferry.models.loading.custom_module import KEY, module_digest
from edgeferry.models.loading.file_check import check_file
from edgeferry.models.preprocessing import Preprocessing, preprocessing_of
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, content_sha256, digest, files_below, sha256_of
from edgeferry.models.system.packages import installed_version

# History: 1, the first; 2 names the config it was made from; 3 holds its preprocessing, what the audit of images and config
# found, an order of images, uploads and probes; it has no accuracy where the golden images have no labels.
SCHEMA: Final = 3
# The module that makes references: they follow from its code.
WRITER: Final = "edgeferry.models.golden.reference_writer"
# The folder below build/<model>/, and its files.
REFERENCE: Final = "reference"
FACTS: Final = "reference.json"
PIXELS: Final = "pixels.npy"
LABELS: Final = "labels.npy"
SCORES: Final = "scores.npy"
CALIBRATION: Final = "calibration.npy"
PROBES: Final = "probes.npy"
PROBE_SCORES: Final = "probe_scores.npy"
TOOLS: Final = ("keras", "numpy", "pillow")
ABSENT: Final = "absent"


@dataclass(frozen=True)
class Reference:
    """The Keras model's predictions for the golden images, and the files they are in; reading it needs no framework.

    ``output`` says what the model itself returns, 'probabilities', 'logits' or 'multilabel'; the scores kept are probabilities.
    ``accuracy`` is None where the golden images have no labels. ``config`` is the path of the config it was made from,
    ``config_digests`` holds a digest of each part of it; ``findings`` is what a user should know of the images and the config.
    """

    key: str
    source_sha256: str
    output: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    images: int
    accuracy: float | None
    calibration_digest: str | None
    config: str
    config_digests: dict[str, str]
    findings: tuple[AuditFinding, ...]
    files: dict[str, str]
    threshold: float | None = None

    @property
    def decision(self) -> Decision:
        """Return how its probabilities become an answer."""
        return decision_of(self.output, self.threshold)

    @property
    def sha256(self) -> str:
        """Return one digest of its arrays."""
        return digest(self.files)


def reference_key(spec: ModelSpec, sha256: Sha256 = sha256_of) -> str:
    """Return the digest of everything the reference follows from: model, images, config, code and tools.

    Raises:
        EdgeError: the model or the images are missing.
    """
    if not spec.model.exists():
        raise EdgeError("EF-model-missing", f"{spec.path}: model.file names {spec.model}, which does not exist.")
    if not spec.model.is_file():
        check_file(spec.model)
    return digest(
        {
            "model": content_sha256(spec.model, sha256),
            "config": config_digests(spec, sha256),
            "expected_accuracy": spec.expected_accuracy,
            "code": CodeDigests(sha256).of(WRITER),
            "tools": {name: installed_version(name) for name in TOOLS},
        }
    )


def changed_config_keys(spec: ModelSpec, reference: Reference) -> tuple[str, ...]:
    """Return the keys of the config that changed since the reference was made; images that are absent count as unchanged."""
    now = config_digests(spec)
    return tuple(key for key, was in reference.config_digests.items() if now[key] not in {was, ABSENT})


def config_digests(spec: ModelSpec, sha256: Sha256 = sha256_of) -> dict[str, str]:
    """Return a digest of each part of a config that the reference follows from."""

    def images(path: Path | None) -> str:
        return find_images(path, sha256).digest if path is not None and path.exists() else ABSENT

    return {
        "model.labels": digest(spec.labels),
        "model.output": digest(spec.output),
        "model.threshold": digest(spec.threshold),
        KEY: (spec.custom_module and module_digest(spec.custom_module, sha256)) or ABSENT,
        "input": digest(asdict(spec.preprocessing)),
        "data.golden": images(spec.golden),
        "data.calibration": images(spec.calibration),
    }


def read_reference(folder: Path, sha256: Sha256 = sha256_of) -> Reference | None:
    """Return the reference kept in a folder, or None where there is none that is whole and of this release."""
    try:
        fields = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if fields.pop("schema") != SCHEMA:
            return None
        typed = {"labels": tuple(fields["labels"]), "preprocessing": preprocessing_of(fields["preprocessing"])}
        reference = Reference(**{**fields, **typed, "findings": findings_of(fields["findings"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    found = digests_below(folder, sha256)
    # A bundle has none: artifacts were calibrated before, and checking needs them no more.
    expected = {name: each for name, each in reference.files.items() if name != CALIBRATION or name in found}
    return reference if found == expected else None


def digests_below(folder: Path, sha256: Sha256 = sha256_of) -> dict[str, str]:
    """Return the digest of every file of a reference, reference.json apart, by its name."""
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files_below(folder) if path.name != FACTS}


def reference_fields(folder: Path) -> dict[str, Any]:
    """Return what reference.json in a folder holds, of whichever release; empty where there is none that can be read."""
    try:
        fields = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def findings_in(folder: Path) -> tuple[AuditFinding, ...]:
    """Return what was found when the reference in a folder was made; empty where there is none that can be read."""
    try:
        return findings_of(reference_fields(folder).get("findings", ()))
    except TypeError:
        return ()


def calibration_findings(reference: Reference) -> tuple[AuditFinding, ...]:
    """Return the warnings about the calibration images: the likely cause where an int8 artifact fails."""
    return tuple(each for each in reference.findings if each.subject == "calibration" and each.severity == "warning")


def written_by_older_release(folder: Path) -> bool:
    """Say whether a folder holds a reference of an earlier schema: its build folder was written by an older release."""
    schema = reference_fields(folder).get("schema")
    return isinstance(schema, int) and schema < SCHEMA
