# SPDX-License-Identifier: Apache-2.0
"""Compressed Core ML packages: the bits that are really on disk."""

from pathlib import Path
from typing import Any, Final

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder

from edgeferry.exporters.coreml.compression import DEQUANTIZE, INT8, LOOK_UP, PALETTE4, PALETTE6, Compression, compressed
from edgeferry.exporters.coreml.conversion import FLOAT16, converted
from edgeferry.exporters.coreml.formats import PACKAGE, CoremlOptions, write_compressed
from edgeferry.exporters.coreml.package import bytes_of_weights, operations_of, specification_of
from edgeferry.exporters.graph.source import Source
from edgeferry.exporters.weights.coreml import stored_weights
from edgeferry.models.artifact import read_artifact
from edgeferry.models.system.errors import EdgeError

pytestmark = pytest.mark.slow

ALL: Final = [pytest.param(each, id=each.name) for each in (INT8, PALETTE6, PALETTE4)]
# Weights of the default classifier with 1024 numbers or more: 1 x 1 convolutions of 32 x 48, 48 x 64 and 64 x 96.
TARGET: Final = CoremlOptions().target
LARGE: Final = (1536, 3072, 6144)


def _package(exported: Any, how: Compression) -> Path:
    return Path(exported.build / f"coreml-{how.name}" / PACKAGE)


@pytest.mark.parametrize("how", ALL)
def test_every_large_weight_is_compressed(how: Compression, exported_digits: Any) -> None:
    held = [each for each in operations_of(specification_of(_package(exported_digits, how))) if each.type in how.operations]
    sizes = []
    for each in held:
        dimensions = [int(dimension.constant.size) for dimension in each.outputs[0].type.tensorType.dimensions]
        sizes.append(dimensions[0] * dimensions[1])
    assert tuple(sorted(sizes)) == LARGE


@pytest.mark.parametrize("how", ALL)
def test_its_bits_are_on_disk(how: Compression, exported_digits: Any) -> None:
    whole = bytes_of_weights(exported_digits.build / "coreml-float16" / PACKAGE)
    saved = sum(size * (16 - how.bits) // 8 for size in LARGE)
    # The overhead: a scale per channel, or a palette per layer, and records of 64 bytes.
    cost = whole - saved - bytes_of_weights(_package(exported_digits, how))
    assert -1500 < cost < 100


def test_int8_has_a_scale_for_each_channel(exported_digits: Any) -> None:
    held = [each for each in operations_of(specification_of(_package(exported_digits, INT8))) if each.type in DEQUANTIZE]
    assert sorted(each.attributes["scale"].type.tensorType.dimensions[0].constant.size for each in held) == [48, 64, 96]


@pytest.mark.parametrize(("how", "values"), [(PALETTE6, 64), (PALETTE4, 16)])
def test_a_palette_has_two_to_the_power_of_its_bits_values(how: Compression, values: int, exported_digits: Any) -> None:
    held = [each for each in operations_of(specification_of(_package(exported_digits, how))) if each.type in LOOK_UP]
    assert {each.attributes["lut"].type.tensorType.dimensions[0].constant.size for each in held} == {values}


@pytest.mark.parametrize("how", ALL)
def test_its_manifest_notes_how_much_is_compressed(how: Compression, exported_digits: Any) -> None:
    artifact = read_artifact(exported_digits.build / f"coreml-{how.name}")
    assert artifact.options["weights"] == how.summary
    assert any(note.startswith(f"3 weights (10752 numbers) in {how.bits} bits") for note in artifact.notes)


def test_the_float16_program_it_starts_from_is_converted_once(digits_source: Source) -> None:
    assert converted(digits_source, FLOAT16, TARGET) is converted(digits_source, FLOAT16, TARGET)


def test_the_float16_program_is_not_changed(digits_source: Source) -> None:
    model = converted(digits_source, FLOAT16, TARGET)
    before = model.get_spec().SerializeToString(deterministic=True)
    compressed(model, INT8)
    assert model.get_spec().SerializeToString(deterministic=True) == before


def test_a_package_that_is_not_compressed_is_refused(exported_digits: Any) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-coreml-compression"):
        INT8.check(exported_digits.build / "coreml-float16" / PACKAGE)


def test_a_palette_of_other_bits_is_refused(exported_digits: Any) -> None:
    with pytest.raises(EdgeError, match="4 bits; expected 6") as caught:
        PALETTE6.check(_package(exported_digits, PALETTE4))
    assert caught.value.code == "EF-coreml-package"


def test_a_package_with_most_numbers_uncompressed_is_refused(digits_source: Source, tmp_path: Path) -> None:
    import coremltools.optimize.coreml as cto

    only = cto.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=1024)
    operations = operations_of(converted(digits_source, FLOAT16, TARGET).get_spec())
    smallest = next(each.outputs[0].name for each in operations if each.type == "conv" and _depth(each, operations) == LARGE[0])
    config = cto.OptimizationConfig(op_name_configs={smallest: only})
    cto.linear_quantize_weights(converted(digits_source, FLOAT16, TARGET), config).save(str(tmp_path / PACKAGE))
    with pytest.raises(EdgeError, match=r"\b9216 .*\b1536\b") as caught:
        INT8.check(tmp_path / PACKAGE)
    assert caught.value.code == "EF-coreml-compression"


def _depth(convolution: Any, operations: Any) -> int:
    name = convolution.inputs["weight"].arguments[0].name
    weight = next(each for each in operations if each.outputs[0].name == name).outputs[0].type.tensorType
    return int(weight.dimensions[0].constant.size * weight.dimensions[1].constant.size * weight.dimensions[2].constant.size)


@pytest.mark.parametrize("how", ALL)
@pytest.mark.parametrize("target", ["iOS17", "iOS18"])
def test_a_newer_system_holds_the_same_bits(how: Compression, target: str, digits_source: Source, tmp_path: Path) -> None:
    # iOS 18 uses another operation for int8, with other inputs.
    written = write_compressed(digits_source, tmp_path, CoremlOptions(target=target), how)
    assert written.options["specification"] == getattr(ct.target, target).value
    assert written.notes[0].startswith(f"3 weights (10752 numbers) in {how.bits} bits")


def test_channels_too_small_for_a_float16_scale_are_within_half_a_step_of_the_weights_they_were_made_of(tmp_path: Path) -> None:
    weights = np.random.default_rng(3).normal(0, 0.1, (48, 64)).astype(np.float32)
    # A network trained with weight decay has such channels behind a dead ReLU: EfficientNet-Lite0 has dozens.
    weights[:3] *= np.array([[3e-5], [1e-6], [0]], np.float32)

    @Builder.program(input_specs=[Builder.TensorSpec((1, 64))])  # type: ignore[untyped-decorator]
    def program(x: Any) -> Any:
        return Builder.linear(x=x, weight=weights)

    model = ct.convert(program, convert_to="mlprogram", compute_precision=ct.precision.FLOAT16)
    compressed(model, INT8).save(str(tmp_path / PACKAGE))
    (stored,) = [each for each in stored_weights(tmp_path / PACKAGE) if each.role == "weight"]
    assert (abs(stored.values - weights) <= stored.step / 2 * (1 + 1e-6)).all()
    assert stored.step.max() < 2 * abs(weights).max() / 127
