# SPDX-License-Identifier: Apache-2.0
"""An ML Program that takes an image and answers a label, declared anew to take and answer arrays.

coremltools 9.0's runner on a phone (ModelService.swift) takes and answers arrays only. An image enters a program as an array of
its pixels already, so all that changes is what the package declares, and that no label is looked up: the same operations on the
same weights are measured.
"""

from typing import Any, Final

from edgeferry.exporters.coreml.package import operations_of

SCORES: Final = "scores"
# MIL.proto's DataType to FeatureTypes.proto's ArrayDataType.
ARRAY_TYPES: Final = {10: 65552, 11: 65568}


def with_arrays(model: Any) -> Any:
    """Return an ML Program with an array [1, channels, height, width] of pixels in and ``scores`` [1, classes] out."""
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
    """Take the classify operation out, name what it was given and make that the answer; return it."""
    function = spec.mlProgram.functions["main"]
    operations = operations_of(spec)
    at = next(number for number, each in enumerate(operations) if each.type == "classify")
    given = operations[at].inputs["probabilities"].arguments[0].name
    del operations[at]
    scores = next(output for each in operations for output in each.outputs if output.name == given)
    scores.name = SCORES
    function.block_specializations[function.opset].outputs[:] = [SCORES]
    return scores


def _declare_array(feature: Any, tensor: Any) -> None:
    array = feature.type.multiArrayType
    array.shape[:] = [dimension.constant.size for dimension in tensor.dimensions]
    array.dataType = ARRAY_TYPES[tensor.dataType]
