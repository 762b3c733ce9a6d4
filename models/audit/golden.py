# SPDX-License-Identifier: Apache-2.0
"""What the golden images can show, and what they cannot: how many, of which classes, which files were not read."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from edgeferry.models.audit.decoding import Decoded
from edgeferry.models.audit.finding import AuditFinding, Severity, Subject, some_of
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.images import ImageSet, unread_files

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# With fewer, even no difference at all leaves 3 % of all images open.
FEW: Final = 100
CONFIDENCE: Final = 0.95


def least_agreement_shown(images: int) -> float:
    """Return what agreement no difference on so many images shows, one-sided with 95 % confidence: 0.05 to the power of 1/n."""
    return float((1 - CONFIDENCE) ** (1 / images))


def audit_golden(spec: ModelSpec, golden: Decoded, classes: "NDArray[np.int64] | None") -> Iterator[AuditFinding]:
    """Yield what limits the evidence of the golden images."""
    path, count, different = spec.golden, len(golden.digests), len(set(golden.digests))
    if different < count:
        yield _finding(
            "golden-repeated",
            f"{path}: {count - different} of {count} golden images are copies of others; a copy is no more evidence.",
        )
    if different < FEW:
        shown = least_agreement_shown(different)
        yield _finding(
            "golden-few",
            f"{path}: {different} golden images are few: no difference on any of them shows agreement of at least "
            f"{shown:.1%}, no more; 100 images show 97.0%, 299 show 99.0%.",
        )
    if classes is None:
        yield _finding(
            "golden-unlabelled",
            f"{path}: the golden images have no labels, so artifacts are checked for agreement with the Keras model alone: its "
            "accuracy is unknown, and whether the config fits the model cannot be checked. Put them in one folder per label.",
        )
        return
    yield from _by_class(spec, classes)


def _by_class(spec: ModelSpec, classes: "NDArray[np.int64]") -> Iterator[AuditFinding]:
    import numpy as np

    counts = np.bincount(classes, minlength=len(spec.labels)) if classes.ndim == 1 else classes.sum(axis=0)
    missing = [label for label, count in zip(spec.labels, counts, strict=True) if not count]
    if missing:
        yield _finding(
            "golden-class-missing",
            f"{spec.golden}: holds no image of {len(missing)} of {len(spec.labels)} classes ({some_of(missing)}): a mistake in "
            "them cannot be seen.",
        )
    fewest, most = int(counts[counts > 0].min()), int(counts.max())
    each = f"{fewest}" if fewest == most else f"{fewest} to {most}"
    yield _finding(
        "golden-classes",
        f"{spec.golden}: {len(classes)} golden images of {len(spec.labels) - len(missing)} classes, {each} of each.",
        "note",
    )


def audit_skipped(images: ImageSet, subject: Subject) -> Iterator[AuditFinding]:
    """Yield which pictures in a folder were not read, by kind, and how to convert them."""
    for suffix, (count, advice) in unread_files(images.path).items():
        yield _finding(f"{subject}-skipped", f"{images.path}: {count} {suffix} files were not read; {advice}.", subject=subject)


def _finding(code: str, sentence: str, severity: Severity = "warning", subject: Subject = "golden") -> AuditFinding:
    return AuditFinding(code, severity, subject, sentence)
