# SPDX-License-Identifier: Apache-2.0
"""The Core ML package that takes and answers arrays, beside the one that takes an image."""

from typing import Any

from edgeferry.exporters.coreml.formats import PACKAGE
from edgeferry.exporters.coreml.package import bytes_of_weights, operations_of, read_labels, specification_of
from edgeferry.models.artifact import read_artifact


def test_it_takes_pixels_and_answers_scores(exported_colours: Any) -> None:
    description = specification_of(exported_colours.build / "coreml-arrays" / PACKAGE).description
    asked, answered = description.input[0].type.multiArrayType, description.output[0].type.multiArrayType
    assert (list(asked.shape), asked.dataType) == ([1, 3, 24, 20], asked.FLOAT32)
    assert (description.output[0].name, list(answered.shape)) == ("scores", [1, 4])
    assert not description.predictedFeatureName
    assert not description.predictedProbabilitiesName


def test_it_computes_what_the_other_computes(exported_colours: Any) -> None:
    whole, arrays = (exported_colours.build / form / PACKAGE for form in ("coreml-float16", "coreml-arrays"))
    types = [[each.type for each in operations_of(specification_of(package))] for package in (whole, arrays)]
    assert types[1] == [each for each in types[0] if each != "classify"]
    assert bytes_of_weights(whole) == bytes_of_weights(arrays)


def test_it_holds_no_labels(exported_digits: Any) -> None:
    assert read_labels(specification_of(exported_digits.build / "coreml-arrays" / PACKAGE)) == ()


def test_its_manifest_says_what_to_feed(exported_digits: Any) -> None:
    artifact = read_artifact(exported_digits.build / "coreml-arrays")
    assert artifact.options["input"].startswith("float32 pixels 0 to 255, [1, channels, height, width], gray")
    assert artifact.output == "probabilities"
