# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path
from typing import Any

import coremltools as ct
import pytest

from exporters import coreml
from exporters.source import Source
from models.errors import EdgeError
from models.spec import ExportOptions


def _spec(exported: Any) -> Any:
    return ct.models.MLModel(str(exported.build / "coreml-float16" / coreml.PACKAGE), skip_model_load=True).get_spec()


def test_it_takes_an_image_of_the_contract_s_size_and_colours(exported_digits: Any, exported_colours: Any) -> None:
    gray, bgr = (_spec(exported).description.input[0].type.imageType for exported in (exported_digits, exported_colours))
    assert (gray.height, gray.width, gray.colorSpace) == (32, 32, gray.GRAYSCALE)
    assert (bgr.height, bgr.width, bgr.colorSpace) == (24, 20, bgr.BGR)


def test_it_answers_a_label_and_probabilities(exported_digits: Any) -> None:
    description = _spec(exported_digits).description
    assert [output.name for output in description.output] == ["classLabel", "classLabel_probs"]


def test_its_labels_are_the_contract_s(exported_colours: Any) -> None:
    assert coreml.read_labels(_spec(exported_colours)) == exported_colours.spec.labels


def test_it_runs_from_ios_16_on(exported_digits: Any) -> None:
    assert _spec(exported_digits).specificationVersion == ct.target.iOS16.value


def test_an_older_system_may_be_asked_for(digits_source: Source, tmp_path: Path) -> None:
    spec = replace(digits_source.spec, options=ExportOptions(coreml_target="iOS15"))
    written = coreml.write(replace(digits_source, spec=spec), tmp_path)
    assert written.options["specification"] == ct.target.iOS15.value


def test_a_system_without_ml_programs_is_refused(digits_source: Source, tmp_path: Path) -> None:
    spec = replace(digits_source.spec, options=ExportOptions(coreml_target="iOS14"))
    with pytest.raises(EdgeError, match=r"coreml_target is 'iOS14'; expected one of .*ML Programs begin with iOS15"):
        coreml.write(replace(digits_source, spec=spec), tmp_path)


def test_a_package_without_its_weights_is_refused(digits_source: Source, tmp_path: Path) -> None:
    coreml.write(digits_source, tmp_path)
    weights = next((tmp_path / coreml.PACKAGE).rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(EdgeError, match="the package holds 100 bytes of weights; expected at least"):
        coreml._check_weights(digits_source, tmp_path / coreml.PACKAGE)


def test_a_package_with_labels_in_another_order_is_refused(digits_source: Source, tmp_path: Path) -> None:
    coreml.write(digits_source, tmp_path)
    turned = replace(digits_source, spec=replace(digits_source.spec, labels=digits_source.spec.labels[::-1]))
    with pytest.raises(EdgeError, match="the package holds the labels 0, 1, 2"):
        coreml._read_back(turned, tmp_path / coreml.PACKAGE, {})


def test_scales_that_differ_by_channel_are_multiplied_in_the_program(exported_colours: Any) -> None:
    block = _spec(exported_colours).mlProgram.functions["main"]
    operations = block.block_specializations[block.opset].operations
    names = [output.name for operation in operations for output in operation.outputs]
    assert any("by_channel" in name for name in names)
