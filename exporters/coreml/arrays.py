# SPDX-License-Identifier: Apache-2.0
"""An ML Program with an image input and a class label output, redeclared with arrays as input and output.

coremltools 9.0's runner on a phone (ModelService.swift) supports arrays only. Inside a program an image is an array of its pixels
already, so only the package's declaration changes and the label look-up is removed: the same operations on the same weights are
measured.
"""

from typing import Any, Final

from edgeferry.exporters.coreml.package import ARRAY_TYPES, DATA_TYPES, operations_of

SCORES: Final = "scores"


def with_arrays(model: Any) -> Any:
    """Return an ML Program with arrays: pixels [1, channels, height, width] as input and ``scores`` [1, classes] as output."""
    import coremltools as ct

    spec = model.get_spec()
    function = spec.mlProgram.functions["main"]
    _declare_array(spec.description.input[0], function.inputs[0].type.tensorType)
    scores = _without_classify(spec)
    del spec.description.output[:]
    spec.description.output.add(name=SCORES)
    _declare_array(spec.description.output[0], scores.type.tensorType)
    spec.description.predictedFeatureName = spec.description.predictedProbabilitiesName = ""
    return ct.models.MLModel(spec, weights_dir=model.weights_dir, skip_model_load=True)


def _without_classify(spec: Any) -> Any:
    """Remove the classify operation, and make its input the program's output, named ``scores``; return that."""
    function = spec.mlProgram.functions["main"]
    operations = operations_of(spec)
    at = next(number for number, each in enumerate(operations) if each.type == "classify")
    classified = operations[at].inputs["probabilities"].arguments[0].name
    del operations[at]
    scores = next(output for each in operations for output in each.outputs if output.name == classified)
    scores.name = SCORES
    function.block_specializations[function.opset].outputs[:] = [SCORES]
    return scores


def _declare_array(feature: Any, tensor: Any) -> None:
    array = feature.type.multiArrayType
    array.shape[:] = [dimension.constant.size for dimension in tensor.dimensions]
    name = DATA_TYPES[tensor.dataType]
    array.dataType = next(number for number, known in ARRAY_TYPES.items() if known == name)
