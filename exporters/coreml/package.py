# SPDX-License-Identifier: Apache-2.0
"""The contents of a saved Core ML package, checked against the classifier it was made from."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.exporters.coreml.conversion import FLOAT16, FLOAT32, LABEL, PROBABILITIES
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.errors import EdgeError

if TYPE_CHECKING:
    from edgeferry.exporters.graph.source import Source

    Declared = tuple[tuple[Tensor, ...], tuple[Tensor, ...], int]

# Biases of a few numbers are stored in the program, not in the weight file.
LEAST_SHARE_IN_WEIGHT_FILE: Final = 0.9
LEAST_IN_WEIGHT_FILE: Final = 1024
# FeatureTypes.proto's ArrayDataType, and MIL.proto's DataType.
ARRAY_TYPES: Final = {65552: FLOAT16, 65568: FLOAT32}
DATA_TYPES: Final = {10: FLOAT16, 11: FLOAT32}


def specification_of(package: Path) -> Any:
    """Return the specification of a package on disk."""
    import coremltools as ct

    return ct.models.MLModel(str(package), skip_model_load=True).get_spec()


def operations_of(specification: Any) -> Any:
    """Return the operations of an ML Program."""
    block = specification.mlProgram.functions["main"]
    return block.block_specializations[block.opset].operations


def read_image_and_labels(source: "Source", package: Path) -> "Declared":
    """Return inputs, outputs and specification version of a package with an image input and a class label output.

    Raises:
        EdgeError: its input or output is something else, or its labels are not the config's.
    """
    spec = specification_of(package)
    description = spec.description
    image = description.input[0].type.imageType
    if (image.height, image.width) != source.shape[:2]:
        raise EdgeError(
            "EF-coreml-package",
            f"the package's input is an image of {image.height} x {image.width}; expected {source.shape[0]} x {source.shape[1]}",
        )
    names = [output.name for output in description.output]
    if LABEL not in names or description.predictedProbabilitiesName not in names:
        raise EdgeError(
            "EF-coreml-package", f"the package's outputs are {', '.join(names)}; expected {LABEL} and its probabilities"
        )
    labels = read_labels(spec)
    if labels != source.spec.labels:
        raise EdgeError(
            "EF-coreml-package",
            f"the package holds the labels {', '.join(labels[:12]) or 'none'}; expected the config's, in its order",
        )
    pixels = Tensor(description.input[0].name, (1, *source.shape), "uint8")
    probabilities = Tensor(description.predictedProbabilitiesName, (1, source.classes), _type_of_probabilities(spec))
    return (pixels,), (probabilities,), spec.specificationVersion


def _type_of_probabilities(spec: Any) -> str:
    # The type of the numbers that classify reads, before the cast to float32 in front of it.
    kinds = {output.name: output.type.tensorType.dataType for each in operations_of(spec) for output in each.outputs}
    return DATA_TYPES[kinds[PROBABILITIES]]


def read_arrays(source: "Source", package: Path) -> "Declared":
    """Return inputs, outputs and specification version of a package with pixels as input and scores as output, both arrays.

    Raises:
        EdgeError: its input or output has another shape.
    """
    spec = specification_of(package)
    description = spec.description
    pixels, scores = description.input[0].type.multiArrayType, description.output[0].type.multiArrayType
    height, width, channels = source.shape
    if tuple(pixels.shape) != (1, channels, height, width) or tuple(scores.shape) != (1, source.classes):
        raise EdgeError(
            "EF-coreml-package",
            f"the package's input is an array {list(pixels.shape)} and its output {list(scores.shape)}; "
            f"expected {[1, channels, height, width]} and {[1, source.classes]}",
        )
    # The values are those of pixels, whatever type the package declares.
    taken = Tensor(description.input[0].name, tuple(pixels.shape), "uint8")
    returned = Tensor(description.output[0].name, tuple(scores.shape), ARRAY_TYPES[scores.dataType])
    return (taken,), (returned,), spec.specificationVersion


def read_labels(spec: Any) -> tuple[str, ...]:
    """Return the class labels in an ML Program's classify operation, in the order of its scores; empty without that operation."""
    operations = operations_of(spec)
    constants = {output.name: operation for operation in operations if operation.type == "const" for output in operation.outputs}
    classify = next((operation for operation in operations if operation.type == "classify"), None)
    if classify is None:
        return ()
    binding = classify.inputs["classes"].arguments[0]
    value = binding.value if binding.HasField("value") else constants[binding.name].attributes["val"]
    return tuple(each.immediateValue.tensor.strings.values[0] for each in value.immediateValue.list.values)


def check_weights(source: "Source", package: Path, bytes_each: int) -> None:
    """Refuse a package whose weight file is too small to hold the classifier's weights.

    Raises:
        EdgeError: it is too small.
    """
    import numpy as np
    import tensorflow as tf

    constants = (tf.make_ndarray(node.attr["value"].tensor) for node in source.graph.node if node.op == "Const")
    large = (each.size for each in constants if each.dtype == np.float32 and each.size >= LEAST_IN_WEIGHT_FILE)
    expected = sum(large) * bytes_each
    present = bytes_of_weights(package)
    if present < expected * LEAST_SHARE_IN_WEIGHT_FILE:
        raise EdgeError("EF-coreml-package", f"the package holds {present} bytes of weights; expected at least {expected}")


def bytes_of_weights(package: Path) -> int:
    """Return the size of a package's weight file."""
    return sum(path.stat().st_size for path in package.rglob("weight.bin"))
