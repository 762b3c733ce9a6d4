# SPDX-License-Identifier: Apache-2.0
"""The calibration images of a config, none of which may be golden."""

from typing import TYPE_CHECKING

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.images import find_images, read_pixels
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def calibration_pixels(spec: ModelSpec, golden: "NDArray[np.uint8]") -> "NDArray[np.uint8] | None":
    """Return the pixels of the calibration images, None where the config names none; ``golden`` are those of the golden images.

    Raises:
        EdgeError: an image is both.
    """
    if spec.calibration is None:
        return None
    found = find_images(spec.calibration)
    pixels = read_pixels(found, spec.preprocessing)
    known = {image.tobytes() for image in golden}
    shared = [number for number, image in enumerate(pixels) if image.tobytes() in known]
    if shared:
        example = f", {found.files[shared[0]].name} among them" if found.files else ""
        raise EdgeError(
            "EF-calibration-golden",
            f"{spec.calibration}: {len(shared)} calibration images are golden images too{example}; "
            "an int8 artifact must not be checked on what it was calibrated with. Remove them from one of the two.",
        )
    return pixels
