# SPDX-License-Identifier: Apache-2.0
"""What every artifact is checked against: golden images, their labels and the Keras model's scores, computed once."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.audit.accuracy import audit_confidence, expected_accuracy_refuted
from edgeferry.models.audit.audit import Audited, audit_images
from edgeferry.models.audit.finding import AuditFinding, findings_of
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.diagnosis.check import check_config
from edgeferry.models.diagnosis.label_count import label_count_hint
from edgeferry.models.diagnosis.search import Labelled
from edgeferry.models.images import find_images
from edgeferry.models.keras_loader import check_file, classifier, load_model
from edgeferry.models.scores import check_discriminates, keras_scores, output_kind
from edgeferry.models.softmax import softmax
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, digest, files_below, sha256_of, whole_folder, write_json
from edgeferry.models.system.packages import installed_version

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# History: 1, the first; 2 names the config it was made from; 3 holds what the audit of images and config found, and no accuracy
# where the golden images have no labels.
SCHEMA: Final = 3
# The folder below build/<model>/, and its files.
REFERENCE: Final = "reference"
FACTS: Final = "reference.json"
PIXELS: Final = "pixels.npy"
LABELS: Final = "labels.npy"
SCORES: Final = "scores.npy"
CALIBRATION: Final = "calibration.npy"
TOOLS: Final = ("keras", "numpy", "pillow")
ABSENT: Final = "absent"


@dataclass(frozen=True)
class Reference:
    """The Keras model's predictions for the golden images, and the files they are in; reading it needs no framework.

    ``output`` says what the model itself returns, 'probabilities' or 'logits'; the scores kept are probabilities.
    ``accuracy`` is None where the golden images have no labels. ``config`` is the path of the config it was made from,
    ``config_digests`` holds a digest of each part of it; ``findings`` is what a user should know of the images and the config.
    """

    key: str
    source_sha256: str
    output: str
    labels: tuple[str, ...]
    images: int
    accuracy: float | None
    calibration_digest: str | None
    config: str
    config_digests: dict[str, str]
    findings: tuple[AuditFinding, ...]
    files: dict[str, str]

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
    if spec.model.is_dir():
        check_file(spec.model)
    return digest(
        {
            "model": sha256(spec.model),
            "config": config_digests(spec, sha256),
            "expected_accuracy": spec.expected_accuracy,
            "code": CodeDigests(sha256).of(__name__),
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
        findings = findings_of(fields["findings"])
        reference = Reference(**{**fields, "labels": tuple(fields["labels"]), "findings": findings})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    present = {path.name: sha256(path) for path in files_below(folder) if path.name != FACTS}
    return reference if present == reference.files else None


def reference_fields(folder: Path) -> dict[str, Any]:
    """Return what reference.json in a folder holds, of whichever release; empty where there is none that can be read."""
    try:
        fields = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
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


def make_reference(spec: ModelSpec, folder: Path) -> Reference:
    """Return the reference of a config, computed by Keras and written to ``folder``.

    Raises:
        EdgeError: the images or the config do not fit the model, or the model does not distinguish the golden images.
    """
    import numpy as np

    with whole_folder(folder) as place:
        data = audit_images(spec, place / PIXELS, place / CALIBRATION)
        pixels = np.load(place / PIXELS, mmap_mode="r")
        predict = _predict(spec, data, pixels)
        scores = keras_scores(predict, pixels, spec, data.golden.name)
        output = output_kind(scores, spec)
        probabilities = softmax(scores) if output == "logits" else scores
        findings = (*data.findings, *_judged(spec, predict, data, probabilities, logits=output == "logits"))
        np.save(place / SCORES, probabilities)
        if data.classes is not None:
            np.save(place / LABELS, data.classes)
        reference = Reference(
            key=reference_key(spec),
            source_sha256=sha256_of(spec.model),
            output=output,
            labels=spec.labels,
            images=len(probabilities),
            accuracy=None if data.classes is None else float((probabilities.argmax(axis=1) == data.classes).mean()),
            calibration_digest=None if spec.calibration is None else find_images(spec.calibration).digest,
            config=str(spec.path.resolve()),
            config_digests=config_digests(spec),
            findings=findings,
            files={path.name: sha256_of(path) for path in files_below(place)},
        )
        write_json(place / FACTS, {"schema": SCHEMA, **asdict(reference)})
    return reference


def _predict(spec: ModelSpec, data: Audited, pixels: "NDArray[np.uint8]") -> Callable[[Any], Any]:
    """Return the model's function from inputs to outputs; where it has one class too many or too few, say which.

    Raises:
        EdgeError: the model cannot be loaded, or is not the classifier that the config describes.
    """
    try:
        predict: Callable[[Any], Any] = classifier(spec).predict_on_batch
    except EdgeError as error:
        if error.code != "EF-label-count" or data.classes is None:
            raise
        model = load_model(spec.model)
        hint = label_count_hint(spec, model.predict_on_batch, model.output_shape[1], pixels, data.classes)
        raise EdgeError(error.code, f"{error} {hint}".strip()) from None
    return predict


def _judged(
    spec: ModelSpec, predict: Callable[[Any], Any], data: Audited, probabilities: "NDArray[np.float32]", *, logits: bool
) -> Iterator[AuditFinding]:
    """Yield what the model's predictions say against config and images.

    Raises:
        EdgeError: the config does not fit the model, or the reference would prove nothing.
    """
    if data.classes is None:
        check_discriminates(probabilities, None, spec)
        return
    golden = Labelled(data.golden.images, data.classes, probabilities)
    other = check_config(spec, predict, golden, logits=logits)
    check_discriminates(probabilities, data.classes, spec)
    right = int((probabilities.argmax(axis=1) == data.classes).sum())
    if error := expected_accuracy_refuted(spec, right, len(data.classes)):
        raise error
    yield from filter(None, (other, audit_confidence(spec, probabilities, data.classes)))
