# SPDX-License-Identifier: Apache-2.0
"""What every artifact is held to: golden images, their labels and the original's scores, computed once."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.config.diagnosis import doubt_all, doubt_order
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.images import find_images, read_labels, read_pixels
from edgeferry.models.keras_loader import check_file, classifier
from edgeferry.models.preprocessing import normalise
from edgeferry.models.softmax import softmax
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import digest, digest_of_code, files_below, sha256_of, whole_folder, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SCHEMA: Final = 1
# The folder below build/<model>/, and its files.
REFERENCE: Final = "reference"
FACTS: Final = "reference.json"
PIXELS: Final = "pixels.npy"
LABELS: Final = "labels.npy"
SCORES: Final = "scores.npy"
CALIBRATION: Final = "calibration.npy"
# A row of probabilities sums to 1 but for float32 rounding over up to some thousand classes.
SUM_TOLERANCE: Final = 1e-3
# An untrained network's answers move by less than this over real images (MobileNetV2: 0.0), a trained one's by tenths.
LEAST_SPREAD: Final = 0.02
BATCH: Final = 32
ABSENT: Final = "absent"


@dataclass(frozen=True)
class Reference:
    """The original's answers, and the files they stand in; reading it needs no framework.

    ``output`` says what the classifier itself answers, 'probabilities' or 'logits'; the scores kept are probabilities.
    ``config_digests`` holds a digest of each part of the config it was made under.
    """

    key: str
    source_sha256: str
    output: str
    labels: tuple[str, ...]
    images: int
    accuracy: float
    calibration_digest: str | None
    config_digests: dict[str, str]
    files: dict[str, str]

    @property
    def sha256(self) -> str:
        """Return one digest of its arrays."""
        return digest(self.files)


def reference_key(spec: ModelSpec) -> str:
    """Return the digest of everything the reference follows from: model, images, contract, code and tools.

    Raises:
        EdgeError: the model or the images are not there.
    """
    if not spec.model.exists():
        raise EdgeError(f"{spec.path}: model.file names {spec.model}, which is not there.")
    if spec.model.is_dir():
        check_file(spec.model)
    return digest(
        {
            "model": sha256_of(spec.model),
            "config": _config_digests(spec),
            "code": digest_of_code("models"),
            "tools": {name: version(name) for name in ("keras", "numpy", "pillow")},
        }
    )


def changed_config_keys(spec: ModelSpec, reference: Reference) -> tuple[str, ...]:
    """Return the keys of the contract that changed since the reference was made; images that are not here cannot be asked."""
    now = _config_digests(spec)
    return tuple(key for key, was in reference.config_digests.items() if now[key] not in {was, ABSENT})


def _config_digests(spec: ModelSpec) -> dict[str, str]:
    return {
        "model.labels": digest(spec.labels),
        "model.output": digest(spec.output),
        "input": digest(asdict(spec.preprocessing)),
        "data.golden": find_images(spec.golden).digest if spec.golden.exists() else ABSENT,
        "data.calibration": find_images(spec.calibration).digest if spec.calibration and spec.calibration.exists() else ABSENT,
    }


def read_reference(folder: Path) -> Reference | None:
    """Return the reference kept in a folder, or None where there is none that is whole."""
    try:
        told = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if told.pop("schema") != SCHEMA:
            return None
        reference = Reference(**{**told, "labels": tuple(told["labels"])})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    present = {path.name: sha256_of(path) for path in files_below(folder) if path.name != FACTS}
    return reference if present == reference.files else None


def make_reference(spec: ModelSpec, folder: Path) -> Reference:
    """Return the reference of a contract, computed by Keras and written to ``folder``.

    Raises:
        EdgeError: the classifier does not tell the golden images apart, or calibration images are golden ones.
    """
    import numpy as np

    golden = find_images(spec.golden)
    labels = read_labels(golden, spec.labels)
    pixels = read_pixels(golden, spec.preprocessing)
    calibration = _calibration_pixels(spec)
    if calibration is not None:
        _refuse_overlap(spec, pixels, calibration)
    predict = classifier(spec).predict_on_batch
    scores = keras_scores(predict, pixels, spec)
    output = output_kind(scores, spec)
    probabilities = softmax(scores) if output == "logits" else scores
    try:
        check_discriminates(probabilities, labels, spec)
    except EdgeError as error:
        raise EdgeError(" ".join(filter(None, (str(error), doubt_all(spec, predict, pixels, labels))))) from None
    if doubt := doubt_order(spec, predict, pixels, labels):
        raise EdgeError(f"{spec.path}: the contract does not fit the model. {doubt}")
    with whole_folder(folder) as place:
        np.save(place / PIXELS, pixels)
        np.save(place / LABELS, labels)
        np.save(place / SCORES, probabilities)
        if calibration is not None:
            np.save(place / CALIBRATION, calibration)
        reference = Reference(
            key=reference_key(spec),
            source_sha256=sha256_of(spec.model),
            output=output,
            labels=spec.labels,
            images=len(labels),
            accuracy=float((probabilities.argmax(axis=1) == labels).mean()),
            calibration_digest=None if spec.calibration is None else find_images(spec.calibration).digest,
            config_digests=_config_digests(spec),
            files={path.name: sha256_of(path) for path in files_below(place)},
        )
        write_json(place / FACTS, {"schema": SCHEMA, **asdict(reference)})
    return reference


def keras_scores(predict: Callable[[Any], Any], pixels: "NDArray[np.uint8]", spec: ModelSpec) -> "NDArray[np.float32]":
    """Return what a function answers to all images, [count, classes], a batch at a time.

    Raises:
        EdgeError: an answer is NaN or Inf.
    """
    import numpy as np

    batches = [normalise(pixels[at : at + BATCH], spec.preprocessing) for at in range(0, len(pixels), BATCH)]
    scores = np.concatenate([np.asarray(predict(batch), dtype=np.float32) for batch in batches])
    wrong = ~np.isfinite(scores).all(axis=1)
    if wrong.any():
        raise EdgeError(
            f"{spec.model}: answers NaN or Inf to {int(wrong.sum())} of {len(scores)} golden images; "
            "check input.range (or mean and std) in the contract, then the training."
        )
    return scores


def output_kind(scores: "NDArray[np.float32]", spec: ModelSpec) -> str:
    """Return 'probabilities' or 'logits', as the contract says or as the scores show.

    Raises:
        EdgeError: the scores are neither (from 0 to 1, but rows do not sum to 1), or not what the contract says.
    """
    import numpy as np

    between = bool(((scores >= -SUM_TOLERANCE) & (scores <= 1 + SUM_TOLERANCE)).all())
    sums = scores.sum(axis=1)
    summed = between and bool(np.allclose(sums, 1, atol=SUM_TOLERANCE))
    if summed and spec.output == "logits":
        raise EdgeError(f"{spec.path}: model.output is 'logits', but every answer sums to 1: set 'probabilities' or 'auto'.")
    if summed:
        return "probabilities"
    if spec.output == "logits":
        return "logits"
    if between or spec.output == "probabilities":
        raise EdgeError(
            f"{spec.model}: answers that sum to {sums.min():.3g} to {sums.max():.3g} an image, so not one label an image "
            "(a sigmoid a class?). End the model with a softmax, or set model.output = 'logits' if they are logits."
        )
    return "logits"


def check_discriminates(scores: "NDArray[np.float32]", labels: "NDArray[np.int64]", spec: ModelSpec) -> None:
    """Refuse a reference that any artifact would agree with.

    An untrained network answers nearly the same to every image, so that a wrong artifact passes beside it.

    Raises:
        EdgeError: says what was seen: the classes predicted, the spread, the accuracy.
    """
    predicted, present = scores.argmax(axis=1), sorted(set(labels.tolist()))
    if len(present) < 2:
        raise EdgeError(
            f"{spec.golden}: every golden image has the label {spec.labels[present[0]]!r}; expected some of each label."
        )
    classes, wanted = len(set(predicted.tolist())), max(2, (len(present) + 1) // 2)
    spread = float(scores.std(axis=0).max())
    accuracy = float((predicted == labels).mean())
    chance = 1 / scores.shape[1]
    # Three standard errors of guessing above guessing.
    needed = chance + 3 * (chance * (1 - chance) / len(labels)) ** 0.5
    if needed > 1:
        fewest = math.ceil(9 * chance / (1 - chance))
        raise EdgeError(
            f"{spec.golden}: holds {len(labels)} golden images; expected at least {fewest}, to tell knowing from guessing."
        )
    seen = f"{len(labels)} golden images, {classes} classes predicted, spread {spread:.3f}, accuracy {accuracy:.1%}"
    about = f"{spec.model}: cannot serve as the reference ({seen}): "
    if spread < LEAST_SPREAD:
        raise EdgeError(f"{about}its answers do not differ between images, so any artifact would agree. Is it trained?")
    if classes < wanted:
        raise EdgeError(f"{about}expected at least {wanted} classes among its answers. Is it trained? Is input.range right?")
    if accuracy < needed:
        raise EdgeError(
            f"{about}guessing reaches {chance:.1%}. Is it trained? Check the label order, input.colour and input.range."
        )


def _calibration_pixels(spec: ModelSpec) -> "NDArray[np.uint8] | None":
    return None if spec.calibration is None else read_pixels(find_images(spec.calibration), spec.preprocessing)


def _refuse_overlap(spec: ModelSpec, golden: "NDArray[np.uint8]", calibration: "NDArray[np.uint8]") -> None:
    known = {image.tobytes(): number for number, image in enumerate(golden)}
    shared = [number for number, image in enumerate(calibration) if image.tobytes() in known]
    if shared:
        files = find_images(spec.calibration).files if spec.calibration else ()
        example = f", {files[shared[0]].name} among them" if files else ""
        raise EdgeError(
            f"{spec.calibration}: {len(shared)} calibration images are golden images too{example}; "
            "an int8 artifact must not be judged on what it was calibrated with. Remove them from one of the two."
        )
