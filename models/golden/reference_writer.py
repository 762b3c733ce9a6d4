# SPDX-License-Identifier: Apache-2.0
"""Makes the reference: images and config are audited, the Keras model predicts, what artifacts are checked with is written."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeferry.models.audit.accuracy import audit_confidence, expected_accuracy_refuted
from edgeferry.models.audit.audit import Audited, audit_images
from edgeferry.models.audit.finding import AuditFinding
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import decision_of, groups_of, probabilities_of
from edgeferry.models.diagnosis.check import check_config
from edgeferry.models.diagnosis.label_count import label_count_hint
from edgeferry.models.diagnosis.search import Labelled
from edgeferry.models.golden.order import ORDER, order_of
from edgeferry.models.golden.probes import make_probes
from edgeferry.models.golden.scores import check_discriminates, keras_scores, output_kind
from edgeferry.models.golden.uploads import bases_of, write_uploads
from edgeferry.models.images import find_images
from edgeferry.models.keras_loader import classifier, load_model, loaded_classifier
from edgeferry.models.reference import (
    CALIBRATION,
    FACTS,
    LABELS,
    PIXELS,
    PROBE_SCORES,
    PROBES,
    SCHEMA,
    SCORES,
    Reference,
    config_digests,
    digests_below,
    reference_key,
)
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import content_sha256, whole_folder, write_json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
        decision = decision_of(output, spec.threshold)
        probabilities = probabilities_of(scores, output)
        judged = _judged(spec, predict, data, probabilities, output)
        findings = (*_changed(spec), *data.findings, *judged)
        np.save(place / SCORES, probabilities)
        if data.classes is not None:
            np.save(place / LABELS, data.classes)

        def predicted(images: "NDArray[np.uint8]") -> "NDArray[np.float32]":
            return probabilities_of(keras_scores(predict, images, spec), output)

        _write_more(place, replace(spec, output=output), data, probabilities, predicted)
        reference = Reference(
            key=reference_key(spec),
            source_sha256=content_sha256(spec.model),
            output=output,
            labels=spec.labels,
            preprocessing=spec.preprocessing,
            images=len(probabilities),
            accuracy=None if data.classes is None else float(decision.right(probabilities, data.classes).mean()),
            threshold=spec.threshold,
            calibration_digest=None if spec.calibration is None else find_images(spec.calibration).digest,
            config=str(spec.path.resolve()),
            config_digests=config_digests(spec),
            findings=findings,
            files=digests_below(place),
        )
        write_json(place / FACTS, {"schema": SCHEMA, **asdict(reference)})
    return reference


def _write_more(
    place: Path, spec: ModelSpec, data: Audited, probabilities: "NDArray[np.float32]", predict: Callable[[Any], Any]
) -> None:
    """Write an order of the golden images, probes and files to upload; ``predict`` returns probabilities for pixels.

    The config's output is the kind that was found.
    """
    import numpy as np

    pixels = np.load(place / PIXELS, mmap_mode="r")
    decision = decision_of(spec.output, spec.threshold)
    order = order_of(probabilities, None if data.classes is None else groups_of(data.classes), decision)
    np.save(place / ORDER, order)
    probes, scores = make_probes(pixels, probabilities, predict, decision)
    np.save(place / PROBES, probes)
    np.save(place / PROBE_SCORES, scores)
    files = data.golden.images.files
    bases = bases_of(pixels, decision.margins(probabilities), order)
    write_uploads(place, [files[at] for at in order if files], bases, spec.preprocessing, predict)


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


def _changed(spec: ModelSpec) -> Iterator[AuditFinding]:
    """Yield what was changed in the model on loading, for information."""
    for change in loaded_classifier(spec).changes:
        yield AuditFinding(change.code, "note", "model", f"{spec.model}: {change.sentence}")


def _judged(
    spec: ModelSpec, predict: Callable[[Any], Any], data: Audited, probabilities: "NDArray[np.float32]", output: str
) -> Iterator[AuditFinding]:
    """Yield what the model's predictions say against config and images.

    Raises:
        EdgeError: the config does not fit the model, or the reference would prove nothing.
    """
    decision = decision_of(output, spec.threshold)
    if data.classes is None:
        check_discriminates(probabilities, None, spec, decision)
        return
    takes_integers = str(classifier(spec).inputs[0].dtype) == "uint8"
    golden = Labelled(data.golden.images, data.classes, probabilities, takes_integers, decision)
    other = check_config(spec, predict, golden, logits=output == "logits")
    check_discriminates(probabilities, data.classes, spec, decision)
    right = int(decision.right(probabilities, data.classes).sum())
    if error := expected_accuracy_refuted(spec, right, len(data.classes)):
        raise error
    yield from filter(None, (other, audit_confidence(spec, probabilities, data.classes, decision)))
