# SPDX-License-Identifier: Apache-2.0
"""The options of formats, as a config sets them."""

import json
from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from edgeferry.exporters.format import check_options, formats, options_of
from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.preprocessing import Preprocessing
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT


def config(**tables: dict[str, Any]) -> ModelSpec:
    """Return a config with these tables below [export]; an underscore stands for a hyphen."""
    path = ROOT / "my.toml"
    how = Preprocessing(8, 6, "rgb", (0.0,) * 3, (1.0,) * 3)
    held = tuple((name.replace("_", "-"), json.dumps(table)) for name, table in tables.items())
    return ModelSpec("my", path, path, ("cat", "dog"), how, path, format_options=held)


@pytest.mark.parametrize("name", formats())
def test_a_format_s_options_are_described_and_have_safe_defaults(name: str) -> None:
    form = formats()[name]
    assert is_dataclass(form.options)
    assert form.options() == options_of(form, config())
    for each in fields(form.options):
        assert "refused" in each.metadata or len(each.metadata["help"]) > 20


def test_the_table_of_a_kind_holds_for_every_format_of_it() -> None:
    spec = config(tfjs={"shard_bytes": 65536})
    found = {name: options_of(form, spec).shard_bytes for name, form in formats().items() if form.kind == "tfjs"}
    assert len(found) > 1
    assert set(found.values()) == {65536}


def test_the_table_of_a_format_goes_before_that_of_its_kind() -> None:
    spec = config(tfjs={"shard_bytes": 65536, "structured_output": True}, tfjs_uint8={"shard_bytes": 131072})
    options = options_of(formats()["tfjs-uint8"], spec)
    assert (options.shard_bytes, options.structured_output) == (131072, True)
    assert options_of(formats()["tfjs-float32"], spec).shard_bytes == 65536


@pytest.mark.parametrize(
    ("tables", "code", "said"),
    [
        ({"onnx": {"opset": 17.5}}, "EF-config-value", "export.onnx.opset is 17.5; expected a whole number"),
        ({"onnx": {"opset": True}}, "EF-config-value", "export.onnx.opset is True"),
        ({"tfjs": {"shard_bytes": 4}}, "EF-option-value", "export.tfjs.shard_bytes is 4; expected at least 65536, since"),
        ({"tfjs_uint8": {"shard_bytes": 4}}, "EF-option-value", "export.tfjs-uint8.shard_bytes is 4"),
        ({"tfjs": {"structured_output": 0}}, "EF-config-value", "export.tfjs.structured_output is 0; expected true or false"),
        ({"tflite_int8": {"dense": "per-class"}}, "EF-option-value", "'per-tensor', 'per-channel', 'convolution'"),
        ({"tflite_int8": {"input_output": "int16"}}, "EF-option-value", "'int16'; expected one of 'uint8', 'int8'"),
        ({"coreml": {"target": "iOS14"}}, "EF-option-value", "'iOS14'; expected one of 'iOS15'"),
        ({"edgetpu": {"timeout_s": 0}}, "EF-option-combination", "export.edgetpu.timeout_s is 0; expected at least 1"),
        ({"edgetpu": {"segments": 2}}, "EF-option-value", "edgeferry compile MODEL.tflite --segments N"),
        ({"edgetpu": {"most_cpu_operation": 3}}, "EF-option-unknown", "did you mean 'most_cpu_operations'?"),
        ({"onnx": {"dense": "per-channel"}}, "EF-option-unknown", "export.onnx.dense is not an option of onnx"),
        ({"keras": {"opset": 3}}, "EF-option-unknown", "export.keras.opset is not an option of keras"),
        ({"tfsj": {"shard_bytes": 65536}}, "EF-option-table", "did you mean 'tfjs'?"),
    ],
)
def test_a_mistake_is_named_by_file_table_and_key(tables: dict[str, dict[str, Any]], code: str, said: str) -> None:
    with pytest.raises(EdgeError) as caught:
        check_options(config(**tables))
    assert caught.value.code == code
    assert said in str(caught.value)
    assert str(caught.value).startswith(str(ROOT / "my.toml"))


def test_every_table_that_exists_is_accepted() -> None:
    check_options(config(tfjs={"shard_bytes": 65536}, onnx={"opset": 15}, tflite_int8={"dense": "convolution"}, keras={}))
