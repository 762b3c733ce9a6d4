# SPDX-License-Identifier: Apache-2.0
"""Do the calibration images look like the golden ones? An int8 artifact takes its ranges from them."""

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from edgeferry.models.audit.decoding import Decoded
from edgeferry.models.audit.duplicates import similar_images
from edgeferry.models.audit.finding import AuditFinding, some_of
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.image_labels import BETWEEN_LABELS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

ADVICE: Final = "int8 artifacts take their ranges from these images: use 100 to 500 typical ones, prepared like the golden ones"
# TF Lite's guide names 100 to 500 images; ranges of fewer than this miss much of what a network sees.
FEW: Final = 50
# Of the range of the golden images' middle 98 %, calibration must cover this share, and may not be this many times as wide.
LEAST_COVERED: Final = 0.75
MIDDLE: Final = (0.01, 0.99)
# Mean difference of neighbours by standard deviation: photographs 0.1 to 0.5, noise 1.1; this many times the golden images'.
MOST_ROUGH: Final = 2.0
CHANNELS: Final = {"gray": ("gray",), "rgb": ("red", "green", "blue"), "bgr": ("blue", "green", "red")}


def audit_calibration(spec: ModelSpec, golden: Decoded, calibration: Decoded) -> Iterator[AuditFinding]:
    """Yield what is unlike the golden images, or too little."""
    path, count, different = spec.calibration, len(calibration.digests), len(set(calibration.digests))
    if different == 1:
        yield _warning(
            "calibration-one-image", f"{path}: holds one image {count} times" if count > 1 else f"{path}: holds one image"
        )
    elif different < FEW:
        copies = f", {different} of them different" if different < count else ""
        yield _warning("calibration-few", f"{path}: holds {count} calibration images{copies}")
    yield from _labelled(spec, calibration)
    yield from _ranges(spec, golden, calibration)
    rough, expected = _roughness(calibration), _roughness(golden)
    if rough > MOST_ROUGH * expected:
        yield _warning(
            "calibration-noise",
            f"{path}: neighbouring pixels differ {rough / max(expected, 1e-6):.1f} times as much as in golden images, like noise",
        )
    if pairs := similar_images(golden, calibration):
        names = some_of([f"{calibration.name(two)} is like {golden.name(one)}" for one, two in pairs], 3)
        yield AuditFinding(
            "calibration-similar",
            "warning",
            "calibration",
            f"{path}: {len({two for _, two in pairs})} calibration images are nearly the same as golden ones ({names}): "
            "an int8 artifact looks better on what it was calibrated with; remove them from one of the two.",
        )


def _warning(code: str, found: str) -> AuditFinding:
    return AuditFinding(code, "warning", "calibration", f"{found}; {ADVICE}.")


def _labelled(spec: ModelSpec, calibration: Decoded) -> Iterator[AuditFinding]:
    """Yield the classes without a calibration image, where the images have labels that the model knows."""
    present = {part for label in calibration.images.labels or () for part in (label, *label.split(BETWEEN_LABELS))}
    missing = [label for label in spec.labels if label not in present]
    if missing and present & set(spec.labels):
        yield _warning(
            "calibration-class-missing",
            f"{spec.calibration}: holds no image of {len(missing)} of {len(spec.labels)} classes ({some_of(missing)})",
        )


def _ranges(spec: ModelSpec, golden: Decoded, calibration: Decoded) -> Iterator[AuditFinding]:
    names = CHANNELS[spec.preprocessing.colour]
    found = []
    for name, wanted, there in zip(names, _middle(golden.histogram), _middle(calibration.histogram), strict=True):
        span = max(1.0, wanted[1] - wanted[0])
        covered = (min(wanted[1], there[1]) - max(wanted[0], there[0])) / span
        if span > 1 and covered < LEAST_COVERED:
            found.append(
                f"{name} from {there[0]:.0f} to {there[1]:.0f}, in the golden images from {wanted[0]:.0f} to {wanted[1]:.0f}"
            )
    if found:
        yield _warning("calibration-range", f"{spec.calibration}: its pixels have other values ({'; '.join(found)})")


def _middle(histogram: "NDArray[np.int64]") -> list[tuple[float, float]]:
    """Return for each channel the values between which the middle of its pixels is."""
    import numpy as np

    shares = np.cumsum(histogram, axis=1) / histogram.sum(axis=1, keepdims=True).clip(1)
    return [(float(np.searchsorted(each, MIDDLE[0])), float(np.searchsorted(each, MIDDLE[1]))) for each in shares]


def _roughness(decoded: Decoded) -> float:
    """Return by how much neighbours differ, in standard deviations of all pixels."""
    import numpy as np

    counts, values = decoded.histogram.sum(axis=0), np.arange(decoded.histogram.shape[1])
    mean = float((counts * values).sum()) / max(1, int(counts.sum()))
    variance = float((counts * (values - mean) ** 2).sum()) / max(1, int(counts.sum()))
    return decoded.roughness / max(math.sqrt(variance), 1.0)
