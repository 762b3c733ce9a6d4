# SPDX-License-Identifier: Apache-2.0
"""Golden images as an app passes them to a Core ML package."""

from typing import TYPE_CHECKING

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from edgeferry.models.preprocessing import Preprocessing
    from edgeferry.targets.mil.package import ImageInput, ModelPackage


def pictures(job: Job, package: "ModelPackage") -> "list[NDArray[np.float32]]":
    """Return the golden images one by one as a package takes them: float32, [1, channels, height, width]."""
    import numpy as np

    # An array of pixels has the channel order of the config.
    ordered = job.images() if package.takes_array else _in_colour_space(job.images(), job.artifact.preprocessing, package.image)
    planes = np.ascontiguousarray(ordered.transpose(0, 3, 1, 2), np.float32)
    return [planes[at : at + 1] for at in range(len(planes))]


def _in_colour_space(pixels: "NDArray[np.uint8]", how: "Preprocessing", image: "ImageInput") -> "NDArray[np.uint8]":
    """Return pictures as an app passes them, RGB or gray, in the channel order that the package itself declares.

    Raises:
        EdgeError: the package takes pictures of another size or colour space than the config's.
    """
    expected = (image.height, image.width)
    if pixels.shape[1:3] != expected:
        raise EdgeError(
            "EF-coreml-image-size",
            f"the package takes images of {expected}; the config's are {pixels.shape[1:3]}. Export it again.",
        )
    kinds = {"GRAYSCALE": 1, "RGB": 3, "BGR": 3}
    if kinds.get(image.colour_space) != how.channels:
        raise EdgeError(
            "EF-coreml-image-colour",
            f"the package takes {image.colour_space} pictures; the config's are {how.colour}. Export it again.",
        )
    rgb = pixels[..., ::-1] if how.colour == "bgr" else pixels
    return rgb[..., ::-1] if image.colour_space == "BGR" else rgb
