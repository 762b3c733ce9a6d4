# SPDX-License-Identifier: Apache-2.0
"""What every artifact is checked against: golden images, their labels and the Keras model's scores, computed once."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.calibration import calibration_pixels
from edgeferry.models.config.diagnosis import better_channel_order, better_preprocessing
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.images import find_images, read_labels, read_pixels
from edgeferry.models.keras_loader import check_file, classifier
from edgeferry.models.order import ORDER, order_of
from edgeferry.models.preprocessing import Preprocessing, normalise, preprocessing_of
from edgeferry.models.probes import make_probes
from edgeferry.models.softmax import softmax
from edgeferry.models.system.closure import CodeDigests
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import Sha256, digest, files_below, sha256_of, whole_folder, write_json
from edgeferry.models.system.packages import installed_version
from edgeferry.models.uploads import bases_of, write_uploads

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# History: 1, the first; 2 names the config it was made from; 3 holds its preprocessing, an order of images, uploads and probes.
SCHEMA: Final = 3
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
# A row of probabilities sums to 1 except for float32 rounding over up to some thousand classes.
SUM_TOLERANCE: Final = 1e-3
# An untrained network's outputs move by less than this over real images (MobileNetV2: 0.0), a trained one's by tenths.
LEAST_SPREAD: Final = 0.02
BATCH: Final = 32
ABSENT: Final = "absent"


@dataclass(frozen=True)
class Reference:
    """The Keras model's predictions for the golden images, and the files they are in; reading it needs no framework.

    ``output`` says what the model itself returns, 'probabilities' or 'logits'; the scores kept are probabilities.
    ``config`` is the path of the config it was made from, ``config_digests`` holds a digest of each part of it.
    """

    key: str
    source_sha256: str
    output: str
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    images: int
    accuracy: float
    calibration_digest: str | None
    config: str
    config_digests: dict[str, str]
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
        typed = {"labels": tuple(fields["labels"]), "preprocessing": preprocessing_of(fields["preprocessing"])}
        reference = Reference(**{**fields, **typed})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return reference if _digests(folder, sha256) == reference.files else None


def _digests(folder: Path, sha256: Sha256 = sha256_of) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): sha256(path) for path in files_below(folder) if path.name != FACTS}


def reference_fields(folder: Path) -> dict[str, Any]:
    """Return what reference.json in a folder holds, of whichever release; empty where there is none that can be read."""
    try:
        fields = json.loads((folder / FACTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return fields if isinstance(fields, dict) else {}


def written_by_older_release(folder: Path) -> bool:
    """Say whether a folder holds a reference of an earlier schema: its build folder was written by an older release."""
    schema = reference_fields(folder).get("schema")
    return isinstance(schema, int) and schema < SCHEMA


def make_reference(spec: ModelSpec, folder: Path) -> Reference:
    """Return the reference of a config, computed by Keras and written to ``folder``.

    Raises:
        EdgeError: the model does not distinguish the golden images, or calibration images are golden ones.
    """
    import numpy as np

    golden = find_images(spec.golden)
    labels = read_labels(golden, spec.labels)
    pixels = read_pixels(golden, spec.preprocessing)
    calibration = calibration_pixels(spec, pixels)
    predict = classifier(spec).predict_on_batch
    output, probabilities = _predicted(spec, predict, pixels, labels)
    order = order_of(probabilities, labels)
    of_pixels = partial(_probabilities, spec, predict, output)
    probes, probe_scores = make_probes(pixels, probabilities, of_pixels)
    with whole_folder(folder) as place:
        np.save(place / PIXELS, pixels)
        np.save(place / LABELS, labels)
        np.save(place / SCORES, probabilities)
        if calibration is not None:
            np.save(place / CALIBRATION, calibration)
        np.save(place / ORDER, order)
        np.save(place / PROBES, probes)
        np.save(place / PROBE_SCORES, probe_scores)
        files, bases = [golden.files[at] for at in order if golden.files], bases_of(pixels, probabilities, order)
        write_uploads(place, files, bases, spec.preprocessing, of_pixels)
        reference = Reference(
            key=reference_key(spec),
            source_sha256=sha256_of(spec.model),
            output=output,
            labels=spec.labels,
            preprocessing=spec.preprocessing,
            images=len(labels),
            accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
            calibration_digest=None if spec.calibration is None else find_images(spec.calibration).digest,
            config=str(spec.path.resolve()),
            config_digests=config_digests(spec),
            files=_digests(place),
        )
        write_json(place / FACTS, {"schema": SCHEMA, **asdict(reference)})
    return reference


def _predicted(
    spec: ModelSpec, predict: Any, pixels: "NDArray[np.uint8]", labels: "NDArray[np.int64]"
) -> "tuple[str, NDArray[np.float32]]":
    """Return what the model returns, and its probabilities for the golden images, which show that the config fits the model."""
    scores = keras_scores(predict, pixels, spec)
    output = output_kind(scores, spec)
    probabilities = softmax(scores) if output == "logits" else scores
    try:
        check_discriminates(probabilities, labels, spec)
    except EdgeError as error:
        raise EdgeError(
            error.code, " ".join(filter(None, (str(error), better_preprocessing(spec, predict, pixels, labels))))
        ) from None
    if finding := better_channel_order(spec, predict, pixels, labels):
        raise EdgeError("EF-config-mismatch", f"{spec.path}: the config does not fit the model. {finding}")
    return output, probabilities


def _probabilities(spec: ModelSpec, predict: Any, output: str, pixels: "NDArray[np.uint8]") -> "NDArray[np.float32]":
    scores = keras_scores(predict, pixels, spec)
    return softmax(scores) if output == "logits" else scores


def keras_scores(predict: Callable[[Any], Any], pixels: "NDArray[np.uint8]", spec: ModelSpec) -> "NDArray[np.float32]":
    """Return what a function predicts for all images, [count, classes], one batch at a time.

    Raises:
        EdgeError: a prediction is NaN or Inf.
    """
    import numpy as np

    batches = [normalise(pixels[at : at + BATCH], spec.preprocessing) for at in range(0, len(pixels), BATCH)]
    scores = np.concatenate([np.asarray(predict(batch), dtype=np.float32) for batch in batches])
    wrong = ~np.isfinite(scores).all(axis=1)
    if wrong.any():
        raise EdgeError(
            "EF-model-not-finite",
            f"{spec.model}: predicts NaN or Inf for {int(wrong.sum())} of {len(scores)} golden images; "
            "check input.range (or mean and std) in the config, then the training.",
        )
    return scores


def output_kind(scores: "NDArray[np.float32]", spec: ModelSpec) -> str:
    """Return 'probabilities' or 'logits', as the config says or as the scores show.

    Raises:
        EdgeError: the scores are neither (from 0 to 1, but rows do not sum to 1), or not what the config says.
    """
    import numpy as np

    between = bool(((scores >= -SUM_TOLERANCE) & (scores <= 1 + SUM_TOLERANCE)).all())
    sums = scores.sum(axis=1)
    summed = between and bool(np.allclose(sums, 1, atol=SUM_TOLERANCE))
    if summed and spec.output == "logits":
        raise EdgeError(
            "EF-model-output",
            f"{spec.path}: model.output is 'logits', but every output sums to 1: set 'probabilities' or 'auto'.",
        )
    if summed:
        return "probabilities"
    if spec.output == "logits":
        return "logits"
    if between or spec.output == "probabilities":
        raise EdgeError(
            "EF-model-output",
            f"{spec.model}: its outputs sum to {sums.min():.3g} to {sums.max():.3g} per image, so not to one label per image "
            "(one sigmoid per class?). End the model with a softmax, or set model.output = 'logits' if they are logits.",
        )
    return "logits"


def check_discriminates(scores: "NDArray[np.float32]", labels: "NDArray[np.int64]", spec: ModelSpec) -> None:
    """Refuse a reference that any artifact would agree with.

    An untrained network predicts nearly the same for every image, so that a wrong artifact would pass next to it.

    Raises:
        EdgeError: says what was seen: the classes predicted, the spread, the accuracy.
    """
    predicted, present = scores.argmax(axis=1), sorted(set(labels.tolist()))
    if len(present) < 2:
        raise EdgeError(
            "EF-golden-one-label",
            f"{spec.golden}: every golden image has the label {spec.labels[present[0]]!r}; expected some of each label.",
        )
    classes, wanted = len(set(predicted.tolist())), max(2, (len(present) + 1) // 2)
    spread = float(scores.std(axis=0).max())
    accuracy = float((predicted == labels).mean())
    chance = 1 / scores.shape[1]
    # Three standard errors of guessing above chance.
    needed = chance + 3 * (chance * (1 - chance) / len(labels)) ** 0.5
    if needed > 1:
        fewest = math.ceil(9 * chance / (1 - chance))
        raise EdgeError(
            "EF-golden-too-few",
            f"{spec.golden}: holds {len(labels)} golden images; expected at least {fewest}, to tell a model from guessing.",
        )
    seen = f"{len(labels)} golden images, {classes} classes predicted, spread {spread:.3f}, accuracy {accuracy:.1%}"
    about = f"{spec.model}: cannot serve as the reference ({seen}): "
    if spread < LEAST_SPREAD:
        raise EdgeError(
            "EF-model-untrained", f"{about}its outputs do not differ between images, so any artifact would agree. Is it trained?"
        )
    if classes < wanted:
        raise EdgeError(
            "EF-model-untrained", f"{about}expected at least {wanted} predicted classes. Is it trained? Is input.range right?"
        )
    if accuracy < needed:
        raise EdgeError(
            "EF-model-chance",
            f"{about}guessing reaches {chance:.1%}. Is it trained? Check the label order, input.colour and input.range.",
        )
