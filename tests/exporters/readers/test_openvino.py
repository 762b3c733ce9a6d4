# SPDX-License-Identifier: Apache-2.0
"""An IR of a convolution, a depthwise convolution and a bias, written here as OpenVINO writes it, whole and damaged."""

import json
import random
from pathlib import Path
from typing import Final

import jsonschema
import numpy as np
import pytest

from edgeferry.exporters.inspect.inspection import inspect
from edgeferry.exporters.readers.openvino import read_openvino
from edgeferry.exporters.readers.record import json_of
from edgeferry.exporters.weights.openvino import stored_weights
from edgeferry.models.artifact import Tensor
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT

WEIGHTS: Final = np.arange(8 * 3, dtype=np.float16).reshape(8, 3, 1, 1)
DEPTHWISE: Final = np.arange(8 * 9, dtype=np.float16).reshape(8, 1, 1, 3, 3)
BIAS: Final = np.arange(8, dtype=np.float16).reshape(1, 8, 1, 1)
CONSTANTS: Final = {"1": ("weights", WEIGHTS), "4": ("depthwise", DEPTHWISE), "7": ("bias", BIAS)}
SIDE: Final = "<dim>-1</dim><dim>3</dim><dim>4</dim><dim>4</dim></port>"
EDGES: Final = [(0, 3, 0), (1, 2, 0), (2, 3, 1), (3, 6, 0), (4, 5, 0), (5, 6, 1), (6, 9, 0), (7, 8, 0), (8, 9, 1), (9, 10, 0)]


def _layer(number: int, kind: str, name: str, inside: str = "") -> str:
    return f'<layer id="{number}" name="{name}" type="{kind}" version="opset1">{inside}</layer>'


def _constant(number: int, offset: int) -> str:
    name, values = CONSTANTS[str(number)]
    shape = ", ".join(map(str, values.shape))
    data = f'<data element_type="f16" shape="{shape}" offset="{offset}" size="{values.nbytes}" />'
    return _layer(number, "Const", name, data)


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Return the ``.xml`` file of an IR, with its ``.bin`` next to it."""
    offsets = (0, WEIGHTS.nbytes, WEIGHTS.nbytes + DEPTHWISE.nbytes)
    layers = [
        _layer(0, "Parameter", "image", f'<output><port id="0" precision="FP32" names="image">{SIDE}</output>'),
        _constant(1, offsets[0]),
        _layer(2, "Convert", "weights_converted"),
        _layer(3, "Convolution", "first"),
        _constant(4, offsets[1]),
        _layer(5, "Convert", "depthwise_converted"),
        _layer(6, "GroupConvolution", "second"),
        _constant(7, offsets[2]),
        _layer(8, "Convert", "bias_converted"),
        _layer(9, "Add", "biased"),
        _layer(10, "Result", "sink", f'<input><port id="0" precision="FP32" names="scores">{SIDE}</input>'),
    ]
    edges = "".join(f'<edge from-layer="{a}" from-port="0" to-layer="{b}" to-port="{port}" />' for a, b, port in EDGES)
    metadata = '<framework><labels value="[&quot;a&quot;, &quot;b&quot;]" /></framework>'
    text = (
        f'<net name="n" version="11"><layers>{"".join(layers)}</layers><edges>{edges}</edges><rt_info>{metadata}</rt_info></net>'
    )
    (tmp_path / "model.xml").write_text(f'<?xml version="1.0"?>\n{text}', encoding="utf-8")
    (tmp_path / "model.bin").write_bytes(WEIGHTS.tobytes() + DEPTHWISE.tobytes() + BIAS.tobytes())
    return tmp_path / "model.xml"


def test_operations_tensors_constants_and_metadata_are_read(place: Path) -> None:
    found = read_openvino(place)
    assert {each.name: each.count for each in found.operations or ()} == {
        "Convert": 3,
        "Convolution": 1,
        "GroupConvolution": 1,
        "Add": 1,
    }
    assert found.inputs == (Tensor("image", (None, 3, 4, 4), "float32"),)
    assert [each.name for each in found.outputs] == ["scores"]
    assert [(each.dtype, each.tensors, each.bytes) for each in found.weights or ()] == [
        ("float16", 3, place.with_suffix(".bin").stat().st_size)
    ]
    assert (found.facts.ir_version, found.facts.metadata) == (11, ("labels",))
    assert [each.state for each in found.checks] == ["passed"]


def test_weights_have_their_layout_and_biases_their_weights(place: Path) -> None:
    found = {each.name: each for each in stored_weights(place)}
    assert {name: (each.role, each.axes, each.of) for name, each in found.items()} == {
        "weights": ("weight", "OIHW", None),
        "depthwise": ("weight", "OIHW", None),
        "bias": ("bias", "", "depthwise"),
    }
    assert (found["depthwise"].values == DEPTHWISE.reshape(8, 1, 3, 3)).all()


@pytest.mark.parametrize("data", [None, b"\0" * 10], ids=["missing", "cut"])
def test_constants_that_are_not_all_there_fail(place: Path, data: bytes | None) -> None:
    place.with_suffix(".bin").unlink()
    if data is not None:
        place.with_suffix(".bin").write_bytes(data)
    assert [each.state for each in read_openvino(place).checks] == ["failed"]


def test_a_file_that_declares_entities_is_refused(place: Path) -> None:
    text = place.read_text(encoding="utf-8").replace("<net", '<!DOCTYPE net [<!ENTITY a "b">]>\n<net', 1)
    place.write_text(text, encoding="utf-8")
    with pytest.raises(EdgeError, match="declaration"):
        read_openvino(place)


def test_no_damage_ends_in_anything_but_a_report_or_one_error(place: Path) -> None:
    whole, chance = place.read_bytes(), random.Random(7)  # noqa: S311 - no secret
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.choice((1, 4))):
            data[chance.randrange(len(data))] = chance.randrange(256)
        place.write_bytes(data[: chance.choice((len(data), chance.randrange(len(data))))])
        try:
            inspect(place)
        except EdgeError as error:
            assert error.code in {"EF-file-damaged", "EF-file-kind"}  # noqa: PT017 - most do not raise


def test_what_inspect_writes_follows_its_schema(place: Path) -> None:
    schema = json.loads((ROOT / "exporters" / "inspect" / "inspection.schema.json").read_text(encoding="utf-8"))
    jsonschema.validate(json.loads(json.dumps(json_of(inspect(place), "model.xml"))), schema)
    assert "openvino" in schema["$defs"]
