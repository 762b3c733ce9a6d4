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


@pytest.mark.parametrize(("name", "kind"), [("tfjs-float16", "float16"), ("tfjs-uint8", "uint8")])
def test_weights_are_stored_in_the_precision_asked_for(exported_digits: Any, name: str, kind: str) -> None:
    weights = _model(exported_digits, name)["weightsManifest"][0]["weights"]
    stored = {weight["quantization"]["dtype"] for weight in weights if "quantization" in weight}
    assert stored == {kind}


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
