# SPDX-License-Identifier: Apache-2.0
"""The Core ML package with array input and output, compared with the one with an image input."""

from typing import Any

from edgeferry.exporters.coreml.formats import PACKAGE
from edgeferry.exporters.coreml.package import bytes_of_weights, operations_of, read_labels, specification_of
from edgeferry.models.artifact import read_artifact


def test_its_input_is_pixels_and_its_output_scores(exported_colours: Any) -> None:
    description = specification_of(exported_colours.build / "coreml-arrays" / PACKAGE).description
    pixels, scores = description.input[0].type.multiArrayType, description.output[0].type.multiArrayType
    assert (list(pixels.shape), pixels.dataType) == ([1, 3, 24, 20], pixels.FLOAT32)
    assert (description.output[0].name, list(scores.shape)) == ("scores", [1, 4])
    assert not description.predictedFeatureName
    assert not description.predictedProbabilitiesName


def test_it_has_the_other_package_s_operations_and_weights(exported_colours: Any) -> None:
    whole, arrays = (exported_colours.build / form / PACKAGE for form in ("coreml-float16", "coreml-arrays"))
    types = [[each.type for each in operations_of(specification_of(package))] for package in (whole, arrays)]
    assert types[1] == [each for each in types[0] if each != "classify"]
    assert bytes_of_weights(whole) == bytes_of_weights(arrays)


def test_it_holds_no_labels(exported_digits: Any) -> None:
    assert read_labels(specification_of(exported_digits.build / "coreml-arrays" / PACKAGE)) == ()


def test_its_manifest_describes_the_input(exported_digits: Any) -> None:
    artifact = read_artifact(exported_digits.build / "coreml-arrays")
    assert "[1, channels, height, width], gray" in artifact.options["input"]
    assert artifact.output == "probabilities"
