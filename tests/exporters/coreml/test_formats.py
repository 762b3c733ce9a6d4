# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import coremltools as ct
import pytest

from edgeferry.exporters.coreml import formats as coreml
from edgeferry.exporters.coreml.package import check_weights, operations_of, read_image_and_labels, read_labels
from edgeferry.exporters.format import formats, options_of
from edgeferry.exporters.graph.source import Source
from edgeferry.models.config.spec import ExportOptions
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow

# MIL.proto's DataType.
MIL_FLOAT16: Final = 10
MIL_FLOAT32: Final = 11


def _spec(exported: Any, form: str = "coreml-float16") -> Any:
    return ct.models.MLModel(str(exported.build / form / coreml.PACKAGE), skip_model_load=True).get_spec()


def test_its_input_is_an_image_of_the_config_s_size_and_colours(exported_digits: Any, exported_colours: Any) -> None:
    gray, bgr = (_spec(exported).description.input[0].type.imageType for exported in (exported_digits, exported_colours))
    assert (gray.height, gray.width, gray.colorSpace) == (32, 32, gray.GRAYSCALE)
    assert (bgr.height, bgr.width, bgr.colorSpace) == (24, 20, bgr.BGR)


def test_its_outputs_are_a_label_and_probabilities(exported_digits: Any) -> None:
    description = _spec(exported_digits).description
    assert [output.name for output in description.output] == ["classLabel", "classLabel_probs"]


def test_its_labels_are_the_config_s(exported_colours: Any) -> None:
    assert read_labels(_spec(exported_colours)) == exported_colours.spec.labels


def test_it_runs_from_ios_16_on(exported_digits: Any) -> None:
    assert _spec(exported_digits).specificationVersion == ct.target.iOS16.value


def test_its_metadata_names_its_author_and_its_source(digits_source: Source, tmp_path: Path) -> None:
    options = ExportOptions(author="A. Trainer", licence="CC0-1.0", version="3.1")
    coreml.write(replace(digits_source, spec=replace(digits_source.spec, options=options)), tmp_path)
    model = ct.models.MLModel(str(tmp_path / coreml.PACKAGE), skip_model_load=True)
    assert (model.author, model.license, model.version) == ("A. Trainer", "CC0-1.0", "3.1")
    assert model.user_defined_metadata["source_sha256"] == digits_source.reference.source_sha256


def test_an_older_system_can_be_the_target(digits_source: Source, tmp_path: Path) -> None:
    written = coreml.write(digits_source, tmp_path, coreml.CoremlOptions(target="iOS15"))
    assert written.options["specification"] == ct.target.iOS15.value


@pytest.mark.parametrize("name", [form.name for form in coreml.FORMATS])
@pytest.mark.parametrize("target", ["iOS13", "iOS14"])
def test_a_system_without_ml_programs_is_refused(name: str, target: str, digits_source: Source) -> None:
    spec = replace(digits_source.spec, format_options=(("coreml", f'{{"target": "{target}"}}'),))
    with pytest.raises(EdgeError, match=rf"export.coreml.target is '{target}'; expected one of .*iOS15"):
        options_of(formats()[name], spec)


@pytest.mark.parametrize("name", ["coreml-int8", "coreml-palettized6", "coreml-palettized4"])
def test_a_system_without_compressed_weights_is_refused(name: str, digits_source: Source, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=f"'iOS15', and {name} needs iOS16") as caught:
        formats()[name].write(digits_source, tmp_path, coreml.CoremlOptions(target="iOS15"))
    assert caught.value.code == "EF-coreml-target"
    assert not list(tmp_path.iterdir())


def test_float32_is_not_float16(exported_digits: Any) -> None:
    kinds = {
        output.type.tensorType.dataType
        for operation in operations_of(_spec(exported_digits, "coreml-float32"))
        for output in operation.outputs
    }
    assert MIL_FLOAT32 in kinds
    assert MIL_FLOAT16 not in kinds


def test_a_package_without_its_weights_is_refused(digits_source: Source, tmp_path: Path) -> None:
    coreml.write(digits_source, tmp_path)
    weights = next((tmp_path / coreml.PACKAGE).rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(EdgeError, match="100 bytes of weights") as caught:
        check_weights(digits_source, tmp_path / coreml.PACKAGE, 2)
    assert caught.value.code == "EF-coreml-package"


def test_a_package_with_labels_in_another_order_is_refused(digits_source: Source, tmp_path: Path) -> None:
    coreml.write(digits_source, tmp_path)
    reordered = replace(digits_source, spec=replace(digits_source.spec, labels=digits_source.spec.labels[::-1]))
    with pytest.raises(EdgeError, match="labels 0, 1, 2") as caught:
        read_image_and_labels(reordered, tmp_path / coreml.PACKAGE)
    assert caught.value.code == "EF-coreml-package"


def test_scales_that_differ_by_channel_are_multiplied_in_the_program(exported_colours: Any) -> None:
    block = _spec(exported_colours).mlProgram.functions["main"]
    operations = block.block_specializations[block.opset].operations
    names = [output.name for operation in operations for output in operation.outputs]
    assert any("by_channel" in name for name in names)
