# SPDX-License-Identifier: Apache-2.0
"""Core ML ML Programs for Apple devices from the A14 on: image in, class label and probabilities out."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from exporters.format import Format, Written
from exporters.source import INPUT, Source
from models.artifact import Tensor, Tolerance
from models.errors import EdgeError

if TYPE_CHECKING:
    from tensorflow.core.framework.graph_pb2 import GraphDef

PACKAGE: Final = "model.mlpackage"
PROBABILITIES: Final = "probabilities"
LABEL: Final = "classLabel"
# iOS 13 and 14 know no ML Programs; A14 devices all run newer ones.
TARGETS: Final = ("iOS15", "iOS16", "iOS17", "iOS18")
COLOUR_LAYOUTS: Final = {"rgb": "RGB", "bgr": "BGR", "gray": "GRAYSCALE"}
# Biases of a few numbers stand in the program's text, not in the weight file.
LEAST_SHARE_IN_WEIGHT_FILE: Final = 0.9


def write(source: Source, folder: Path) -> Written:
    """Write an ML Program in float16 whose image input holds the preprocessing, and read it back.

    Raises:
        EdgeError: the deployment target asked for cannot run ML Programs, or the package lacks its weights or labels.
    """
    import coremltools as ct

    target = source.spec.options.coreml_target
    if target not in TARGETS:
        raise EdgeError(
            f"{source.spec.path}: export.coreml_target is {target!r}; expected one of {', '.join(TARGETS)} "
            "(ML Programs begin with iOS15)."
        )
    model = ct.convert(
        [_function(source)],
        source="tensorflow",
        convert_to="mlprogram",
        inputs=[_image_type(source)],
        outputs=[ct.TensorType(name=PROBABILITIES)],
        classifier_config=ct.ClassifierConfig(list(source.spec.labels), LABEL),
        minimum_deployment_target=getattr(ct.target, target),
        compute_precision=ct.precision.FLOAT16,
        skip_model_load=True,
    )
    model.short_description = f"{source.spec.name}, exported by edgeferry"
    told = {"source_sha256": source.reference.source_sha256, "preprocessing": asdict(source.spec.preprocessing)}
    model.user_defined_metadata.update(
        {name: value if isinstance(value, str) else json.dumps(value) for name, value in told.items()}
    )
    model.save(str(folder / PACKAGE))
    return _read_back(source, folder / PACKAGE, {"deployment_target": target, "precision": "float16"})


def _image_type(source: Source) -> Any:
    import coremltools as ct

    how = source.spec.preprocessing
    # Core ML scales all channels alike; what is left for each of them is multiplied in the graph.
    scale = 1 / how.std[0]
    bias = [-mean * scale for mean in how.mean]
    return ct.ImageType(
        name=INPUT,
        shape=(1, *source.shape),
        scale=scale,
        bias=bias[0] if how.channels == 1 else bias,
        color_layout=getattr(ct.colorlayout, COLOUR_LAYOUTS[how.colour]),
    )


def _function(source: Source) -> Any:
    import numpy as np

    from exporters.source import function_of

    graph = source.graph_of(1)
    std = source.spec.preprocessing.std
    if len(set(std)) > 1:
        _multiply_input(graph, np.float32(std[0]) / np.asarray(std, dtype=np.float32))
    if source.output == "logits":
        node = graph.node.add(name=PROBABILITIES, op="Softmax", input=[source.output])
        node.attr["T"].type = 1
    return function_of(graph, PROBABILITIES)


def _multiply_input(graph: "GraphDef", factors: Any) -> None:
    from exporters.fold import constant_node

    for node in graph.node:
        node.input[:] = ["image/by_channel" if name == INPUT else name for name in node.input]
    graph.node.append(constant_node("image/factors", factors))
    node = graph.node.add(name="image/by_channel", op="Mul", input=[INPUT, "image/factors"])
    node.attr["T"].type = 1


def _read_back(source: Source, package: Path, options: dict[str, Any]) -> Written:
    import coremltools as ct

    spec = ct.models.MLModel(str(package), skip_model_load=True).get_spec()
    description = spec.description
    image = description.input[0].type.imageType
    if (image.height, image.width) != source.shape[:2]:
        raise EdgeError(
            f"the package takes images of {image.height} x {image.width}; expected {source.shape[0]} x {source.shape[1]}"
        )
    names = [output.name for output in description.output]
    if LABEL not in names or description.predictedProbabilitiesName not in names:
        raise EdgeError(f"the package answers {', '.join(names)}; expected {LABEL} and its probabilities")
    labels = read_labels(spec)
    if labels != source.spec.labels:
        raise EdgeError(f"the package holds the labels {', '.join(labels[:12]) or 'none'}; expected the contract's, in its order")
    _check_weights(source, package)
    return Written(
        PACKAGE,
        (Tensor(description.input[0].name, (1, *source.shape), "uint8"),),
        (Tensor(description.predictedProbabilitiesName, (1, source.classes), "float16"),),
        options=options | {"specification": spec.specificationVersion},
        output=PROBABILITIES,
    )


def read_labels(spec: Any) -> tuple[str, ...]:
    """Return the class labels an ML Program's classify operation holds, in the order of its scores."""
    block = spec.mlProgram.functions["main"]
    operations = block.block_specializations[block.opset].operations
    constants = {output.name: operation for operation in operations if operation.type == "const" for output in operation.outputs}
    classify = next((operation for operation in operations if operation.type == "classify"), None)
    if classify is None:
        return ()
    binding = classify.inputs["classes"].arguments[0]
    value = binding.value if binding.HasField("value") else constants[binding.name].attributes["val"]
    return tuple(each.immediateValue.tensor.strings.values[0] for each in value.immediateValue.list.values)


def _check_weights(source: Source, package: Path) -> None:
    import numpy as np
    import tensorflow as tf

    constants = (tf.make_ndarray(node.attr["value"].tensor) for node in source.graph.node if node.op == "Const")
    expected = sum(values.size * 2 for values in constants if values.dtype == np.float32 and values.size >= 1024)
    present = sum(path.stat().st_size for path in package.rglob("weight.bin"))
    if present < expected * LEAST_SHARE_IN_WEIGHT_FILE:
        raise EdgeError(f"the package holds {present} bytes of weights; expected at least {expected}")


FORMATS = (
    Format(
        "coreml-float16",
        "coreml",
        "Core ML ML Program, float16, image input, class labels",
        Tolerance(0.99, 0.05, 0.01, "weights and activations rounded to 11 bits, in whatever order the device computes"),
        write,
        ("coremltools", "tensorflow-cpu", "tensorflow", "keras"),
    ),
)
