# SPDX-License-Identifier: Apache-2.0
"""The input and output of a Core ML package: golden images as it takes them, its outputs as scores.

A package takes an image and outputs one probability per label, or, where only arrays work, takes an array and outputs an array.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Interface:
    """Names of the input and the output; ``labels`` is None where the output is an array, else in the order of the scores."""

    input: str
    output: str
    takes_image: bool
    labels: tuple[str, ...] | None

    def scores(self, predictions: list[Mapping[str, Any]]) -> "NDArray[np.float32]":
        """Return predictions as scores: float32, [count, classes]."""
        import numpy as np

        outputs = [prediction[self.output] for prediction in predictions]
        if self.labels is None:
            return np.stack([np.asarray(scores, np.float32).ravel() for scores in outputs])
        return np.array([[scores[label] for label in self.labels] for scores in outputs], np.float32)


def interface_of(specification: Any) -> Interface:
    """Return the input and output that a package's specification declares.

    Raises:
        EdgeError: it does not declare exactly one input.
    """
    description = specification.description
    if len(description.input) != 1:
        raise EdgeError("EF-coreml-inputs", f"the package takes {len(description.input)} inputs; expected 1. Export it again.")
    declared = description.input[0]
    takes_image = declared.type.WhichOneof("Type") == "imageType"
    if description.predictedProbabilitiesName:
        return Interface(declared.name, description.predictedProbabilitiesName, takes_image, labels_in(specification))
    return Interface(declared.name, description.output[0].name, takes_image, None)


def feeds(job: Job, interface: Interface) -> list[dict[str, Any]]:
    """Return the golden images as ``predict`` takes them, one by one."""
    values = _pictures(job) if interface.takes_image else _arrays(job)
    return [{interface.input: value} for value in values]


def labels_in(specification: Any) -> tuple[str, ...]:
    """Return the class labels in an ML Program's classify operation, in the order of its scores.

    Raises:
        RuntimeError: the program has no such operation.
    """
    block = specification.mlProgram.functions["main"]
    operations = block.block_specializations[block.opset].operations
    constants = {operation.outputs[0].name: operation for operation in operations if operation.type == "const"}
    classify = next((operation for operation in operations if operation.type == "classify"), None)
    if classify is None:
        raise RuntimeError("the package has no class labels: its program has no classify operation")
    classes = classify.inputs["classes"].arguments[0]
    value = classes.value if classes.HasField("value") else constants[classes.name].attributes["val"]
    return tuple(each.immediateValue.tensor.strings.values[0] for each in value.immediateValue.list.values)


def _pictures(job: Job) -> list[Any]:
    from PIL import Image

    pixels, how = job.images(), job.artifact.preprocessing
    if how.channels == 1:
        return [Image.fromarray(image[..., 0]) for image in pixels]
    # A picture is RGB; a package made for BGR converts it itself.
    return [Image.fromarray(image[..., ::-1] if how.colour == "bgr" else image) for image in pixels]


def _arrays(job: Job) -> "list[NDArray[np.generic]]":
    import numpy as np

    declared, how = job.artifact.inputs[0], job.artifact.preprocessing
    # coremltools itself converts float16 to float32; a connected device takes the declared type.
    values = np.asarray(job.images() if declared.dtype == "uint8" else normalise(job.images(), how))
    if declared.shape[1:] == (how.channels, *values.shape[1:3]):
        values = values.transpose(0, 3, 1, 2)
    dtype = np.float32 if declared.dtype == "uint8" else np.dtype(declared.dtype)
    return [np.ascontiguousarray(values[at : at + 1], dtype) for at in range(len(values))]
