# SPDX-License-Identifier: Apache-2.0
"""Programs of one operation, each made for one rule of the published lists, and for no other."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.models.coreml_messages import messages
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.coreml.placement import lines, placement, rules
from edgeferry.targets.target import Unsupported

IMAGE: Final = (1, 8, 16, 16)
# By rule, operations and the shapes and types of their results; None is an open size.
FLAGGED: Final[dict[str, list[dict[str, Any]]]] = {
    "recurrent": [{"operation": name} for name in ("gru", "lstm", "rnn")],
    "gather": [{"operation": name} for name in ("gather", "gather_nd", "gather_along_axis")],
    "scatter": [{"operation": "scatter_nd"}],
    "product": [{"operation": "reduce_prod"}],
    "control-flow": [{"operation": "while_loop"}, {"operation": "list_read"}, {"operation": "read_state"}],
    "custom-layer": [{"operation": "custom_layer"}],
    "dilated-convolution": [{"operation": "conv", "dilations": (1, 2)}, {"operation": "conv_transpose", "dilations": (2, 2)}],
    "convolution-3d": [{"operation": "conv", "shape": (1, 8, 4, 16, 16), "dilations": (1, 1, 1)}],
    "rank": [{"operation": "reshape", "shape": (1, 2, 2, 2, 2, 2)}],
    "large-dimension": [{"operation": "reshape", "shape": (1, 16385)}],
    "open-shape": [{"operation": "relu", "shape": (1, 8, None, 16)}],
    "float32": [{"operation": "cast", "data_type": "FLOAT32"}],
    "int32": [{"operation": "reduce_argmax", "data_type": "INT32"}],
}
UNFLAGGED: Final[list[dict[str, Any]]] = [
    {"operation": "conv", "dilations": (1, 1)},
    {"operation": "conv", "shape": (1, 8, 16, 16), "inline": (1, 1)},
    {"operation": "reshape", "shape": (1, 2, 2, 2, 2)},
    {"operation": "reshape", "shape": (1, 16384)},
    {"operation": "linear", "shape": (1, 10)},
    {"operation": "classify", "data_type": "STRING", "shape": ()},
    {"operation": "constexpr_lut_to_dense", "data_type": "FLOAT32"},
]


@pytest.fixture(scope="module", autouse=True)
def _messages() -> None:
    pytest.importorskip("coremltools", reason="coremltools is not installed")


def _package(folder: Path, *, operation: str, **how: Any) -> Path:
    model = messages().Model(specificationVersion=7)
    function = model.mlProgram.functions["main"]
    function.opset = "CoreML6"
    block = function.block_specializations["CoreML6"]
    if "dilations" in how:
        constant = block.operations.add(type="const")
        constant.outputs.add(name="dilations")
        constant.attributes["val"].immediateValue.tensor.ints.values.extend(how["dilations"])
    call = block.operations.add(type=operation)
    if "dilations" in how:
        call.inputs["dilations"].arguments.add(name="dilations")
    if "inline" in how:
        call.inputs["dilations"].arguments.add().value.immediateValue.tensor.ints.values.extend(how["inline"])
    _declare(call.outputs.add(name="result"), how.get("data_type", "FLOAT16"), how.get("shape", IMAGE))
    return _saved(model, folder)


def _declare(output: Any, data_type: str, shape: tuple[int | None, ...]) -> None:
    tensor = output.type.tensorType
    tensor.dataType = type(tensor).DESCRIPTOR.fields_by_name["dataType"].enum_type.values_by_name[data_type].number
    tensor.rank = len(shape)
    for size in shape:
        dimension = tensor.dimensions.add()
        if size is None:
            dimension.unknown.variadic = False
        else:
            dimension.constant.size = size


def _saved(model: Any, folder: Path) -> Path:
    path = folder / "model.mlpackage"
    (path / "Data").mkdir(parents=True)
    (path / "Data" / "model.mlmodel").write_bytes(model.SerializeToString())
    manifest = {"rootModelIdentifier": "a", "itemInfoEntries": {"a": {"path": "model.mlmodel"}}}
    (path / "Manifest.json").write_text(json.dumps(manifest))
    return path


@pytest.mark.parametrize(("rule", "how"), [(rule, how) for rule, each in FLAGGED.items() for how in each])
def test_a_rule_flags_what_it_is_for_and_no_other_rule_does(rule: str, how: dict[str, Any], tmp_path: Path) -> None:
    found = placement(_package(tmp_path, **how))
    assert [(each.rule, each.operation, each.name) for each in found.issues] == [(rule, how["operation"], "result")]
    assert (found.operations, found.flagged) == (1, 1)


@pytest.mark.parametrize("how", UNFLAGGED)
def test_what_no_list_names_is_not_flagged(how: dict[str, Any], tmp_path: Path) -> None:
    assert placement(_package(tmp_path, **how)).issues == ()


def test_every_rule_is_tested() -> None:
    assert [rule.rule for rule in rules()] == list(FLAGGED)


def test_every_rule_is_only_a_possibility_and_names_its_source() -> None:
    for rule in rules():
        assert " may leave the Neural Engine" in rule.message
        assert re.match(r"https://[a-z-]+(\.[a-z-]+)+/\S", rule.source), rule


def test_every_operation_in_the_rules_is_one_of_coremltools() -> None:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    # What coremltools writes for an app's own operation, and for a state: converters/mil/backend/mil/load.py.
    others = {"custom_layer", "write_state"}
    assert {name for rule in rules() for name in rule.operations or ()} - set(SSAOpRegistry.core_ops) == others


def test_operations_in_inner_blocks_are_checked(tmp_path: Path) -> None:
    path = _package(tmp_path, operation="relu")
    model = messages().Model.FromString((path / "Data" / "model.mlmodel").read_bytes())
    inner = (
        model.mlProgram.functions["main"]
        .block_specializations["CoreML6"]
        .operations[0]
        .blocks.add()
        .operations.add(type="gather")
    )
    _declare(inner.outputs.add(name="within"), "FLOAT16", IMAGE)
    (path / "Data" / "model.mlmodel").write_bytes(model.SerializeToString())
    found = placement(path)
    assert (found.operations, [each.name for each in found.issues]) == (2, ["within"])


def test_the_lines_name_operation_rule_and_source(tmp_path: Path) -> None:
    path = _package(tmp_path, operation="gather")
    issue, summary = lines(path, placement(path))
    assert issue.startswith(f"{path}: gather result (1 x 8 x 16 x 16): gather: gathering may leave the Neural Engine")
    assert "source: https://github.com/hollance/" in issue
    assert summary.startswith(f"{path}: 1 of 1 operations may leave the Neural Engine, by published lists")


def test_the_command_prints_json_with_a_schema_and_imports_no_coremltools(tmp_path: Path) -> None:
    path = _package(tmp_path, operation="lstm")
    program = f"""
import sys
from edgeferry.commands.app import app
try:
    app(["lint", {str(path)!r}, "--json"])
finally:
    assert not {{"coremltools", "tensorflow"}} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert (found["schema"], found["operations"], found["issues"][0]["rule"]) == (2, 1, "recurrent")


def test_a_folder_that_is_not_a_package_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match=r"Manifest\.json", check=lambda error: error.code == "EF-mlpackage-incomplete"):
        placement(tmp_path)


def test_another_type_of_model_is_unsupported(tmp_path: Path) -> None:
    model = messages().Model(specificationVersion=4)
    model.neuralNetwork.SetInParent()
    with pytest.raises(Unsupported, check=lambda error: error.code == "EF-mlprogram-missing"):
        placement(_saved(model, tmp_path))
