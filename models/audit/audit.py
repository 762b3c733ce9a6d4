# SPDX-License-Identifier: Apache-2.0
"""The audit of all images of a config: decoded once, everything that is wrong with them in one error, the rest as findings."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeferry.models.audit.calibration import audit_calibration
from edgeferry.models.audit.decoding import Decoded, write_pixels
from edgeferry.models.audit.duplicates import same_images
from edgeferry.models.audit.finding import AuditFinding, raise_all
from edgeferry.models.audit.golden import audit_golden, audit_skipped
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.decision import MULTILABEL
from edgeferry.models.golden.scores import one_label
from edgeferry.models.image_labels import read_label_sets_if_any, read_labels_if_any
from edgeferry.models.images import ImageSet, find_images
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Audited:
    """The golden images, their true labels or None where they have none, and what the audit found."""

    golden: Decoded
    classes: "NDArray[np.int64] | None"
    findings: tuple[AuditFinding, ...]


def audit_images(spec: ModelSpec, golden_pixels: Path, calibration_pixels: Path) -> Audited:
    """Write the pixels of the golden and the calibration images to two .npy files, and return what is to be known of them.

    Raises:
        EdgeError: files that cannot be read, labels the model does not know, golden images among the calibration images: all
            of it at once.
    """
    problems: list[EdgeError] = []
    golden_images = find_images(spec.golden)
    classes = _classes(spec, golden_images, problems)
    golden = write_pixels(golden_images, spec.preprocessing, golden_pixels)
    calibration = _calibration(spec, calibration_pixels, problems)
    problems += [*golden.damaged, *(calibration.damaged if calibration else ())]
    problems += _golden_too(spec, golden, calibration) if calibration else ()
    raise_all(problems)
    findings = [*audit_skipped(golden_images, "golden"), *audit_golden(spec, golden, classes)]
    if calibration is not None:
        findings += [*audit_skipped(calibration.images, "calibration"), *audit_calibration(spec, golden, calibration)]
    return Audited(golden, classes, tuple(findings))


def _classes(spec: ModelSpec, golden: ImageSet, problems: list[EdgeError]) -> "NDArray[np.int64] | None":
    try:
        read = read_label_sets_if_any if spec.output == MULTILABEL else read_labels_if_any
        classes = read(golden, spec.labels)
    except EdgeError as error:
        problems.append(error)
        return None
    problems += filter(None, [None if classes is None else one_label(classes, spec)])
    return classes


def _calibration(spec: ModelSpec, pixels: Path, problems: list[EdgeError]) -> Decoded | None:
    if spec.calibration is None:
        return None
    try:
        return write_pixels(find_images(spec.calibration), spec.preprocessing, pixels)
    except EdgeError as error:
        problems.append(error)
        return None


def _golden_too(spec: ModelSpec, golden: Decoded, calibration: Decoded) -> Iterator[EdgeError]:
    shared = same_images(golden, calibration)
    if not shared:
        return
    files = calibration.images.files
    example = f", {files[shared[0]].name} among them" if files else ""
    yield EdgeError(
        "EF-calibration-golden",
        f"{spec.calibration}: {len(shared)} calibration images are golden images too{example}; "
        "an int8 artifact must not be checked on what it was calibrated with. Remove them from one of the two.",
    )
