# SPDX-License-Identifier: Apache-2.0
import json
import sys
from typing import Any

import pytest

from exporters import tfjs
from models.errors import EdgeError


def _model(exported: Any, name: str) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((exported.build / name / "model.json").read_text())
    return told


def test_the_signature_keeps_the_names(exported_digits: Any) -> None:
    signature = _model(exported_digits, "tfjs-float32")["signature"]
    assert (list(signature["inputs"]), list(signature["outputs"])) == (["image"], ["probabilities"])


def test_labels_and_preprocessing_stand_in_the_metadata(exported_colours: Any) -> None:
    told = _model(exported_colours, "tfjs-uint8")["userDefinedMetadata"]
    assert told["labels"] == list(exported_colours.spec.labels)
    assert told["preprocessing"]["std"] == [60, 70, 80]


def test_convolutions_are_fused_with_bias_and_activation(exported_digits: Any) -> None:
    operations = [node["op"] for node in _model(exported_digits, "tfjs-float32")["modelTopology"]["node"]]
    assert operations.count("FusedDepthwiseConv2dNative") == 4
    assert operations.count("_FusedConv2D") == 5
    assert "Relu6" not in operations


def test_weights_are_stored_in_the_precision_asked_for(exported_digits: Any) -> None:
    weights = _model(exported_digits, "tfjs-float16")["weightsManifest"][0]["weights"]
    assert {weight["quantization"]["dtype"] for weight in weights if "quantization" in weight} == {"float16"}


def test_depthwise_weights_and_biases_are_spared_the_range_of_a_whole_tensor(exported_digits: Any) -> None:
    model = _model(exported_digits, "tfjs-uint8")
    depthwise = {node["input"][1] for node in model["modelTopology"]["node"] if "Depthwise" in node["op"]}
    weights = [weight for weight in model["weightsManifest"][0]["weights"] if weight["dtype"] == "float32"]
    spared = {weight["name"] for weight in weights if weight["quantization"]["dtype"] == "float16"}
    assert spared == {weight["name"] for weight in weights if weight["name"] in depthwise or len(weight["shape"]) < 2}
    assert len(depthwise) == 4
    assert {weight["quantization"]["dtype"] for weight in weights} == {"float16", "uint8"}


def test_weights_stand_in_the_binary_file_alone(exported_digits: Any) -> None:
    assert "tensorContent" not in json.dumps(_model(exported_digits, "tfjs-float32")["modelTopology"])


def test_the_converter_is_loaded_without_jax_and_decision_forests() -> None:
    tfjs.conversion()
    assert not {"jax", "tensorflow_decision_forests", "tensorflow_hub"} & set(sys.modules)


def test_another_version_of_the_converter_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, tfjs.CONVERSION, raising=False)
    monkeypatch.setattr(tfjs, "VERSION", "4.23.0")
    for name in [name for name in sys.modules if name.startswith("tensorflowjs")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(EdgeError, match=r"tensorflowjs 4.22.0 is installed, 4.23.0 is needed"):
        tfjs.conversion()
