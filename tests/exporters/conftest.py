# SPDX-License-Identifier: Apache-2.0
"""The two classifiers frozen, in the tests' own process."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import flatbuffers
import numpy as np
import pytest

from edgeferry.exporters.graph.source import Source, read_source
from edgeferry.exporters.readers.tflite_schema import tflite_schema as _schema

STAND_IN: Final = Path(__file__).parent / "edgetpu" / "compiler_stand_in.py"
PACKAGE_STAND_IN: Final = Path(__file__).parent / "edgetpu" / "package_stand_in.py"
EDGETPU_LOGS: Final = Path(__file__).parent / "edgetpu" / "logs"


@pytest.fixture(scope="session")
def digits_source(exported_digits: Any) -> Source:
    """Return the default classifier as one graph."""
    return read_source(exported_digits.spec, exported_digits.build / "reference")


@pytest.fixture(scope="session")
def colours_source(exported_colours: Any) -> Source:
    """Return the colour classifier as one graph."""
    return read_source(exported_colours.spec, exported_colours.build / "reference")


@pytest.fixture
def stand_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Return a function that puts the stand-in for edgetpu_compiler in place, with a recorded log and what else it does."""

    def put(log: str | None = None, **does: object) -> Path:
        program = tmp_path / "bin of a stand-in" / "edgetpu_compiler"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I "{STAND_IN}" "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setenv("EDGETPU_COMPILER", str(program))
        monkeypatch.delenv("EDGETPU_COMPILER_IMAGE", raising=False)
        if log is not None:
            monkeypatch.setenv("STAND_IN_LOG", str(EDGETPU_LOGS / f"{log}.log"))
        for name, value in does.items():
            monkeypatch.setenv(f"STAND_IN_{name.upper()}", str(value))
        return program

    return put


@pytest.fixture
def looks_compiled(tmp_path: Path) -> Callable[[Path], Path]:
    """Return a function that writes a file with one edgetpu-custom-op between a .tflite file's inputs and outputs.

    Its program is the stand-in's, between layers of those names, scales and zero points.
    """

    def written(parent: Path) -> Path:
        schema = _schema()
        tree = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(parent.read_bytes()), 0))
        graph, code, operator = tree.subgraphs[0], schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CUSTOM
        code.customCode, code.version = b"edgetpu-custom-op", 1
        operator.inputs, operator.outputs = graph.inputs, graph.outputs
        sides = [[_layer(graph.tensors[at]) for at in side] for side in (graph.inputs, graph.outputs)]
        operator.customOptions = np.frombuffer(runpy.run_path(str(PACKAGE_STAND_IN))["program_between"](*sides), np.uint8)
        tree.operatorCodes, graph.operators = [code], [operator]
        builder = flatbuffers.Builder(1024)
        builder.Finish(tree.Pack(builder), b"TFL3")
        place = tmp_path / f"looks_compiled_{parent.stem}.tflite"
        place.write_bytes(bytes(builder.Output()))
        return place

    return written


def _layer(tensor: Any) -> tuple[str, list[int], float, int]:
    told, offset = tensor.quantization, 128 if tensor.type == _schema().TensorType.INT8 else 0
    scale, zero_point = (float(told.scale[0]), int(told.zeroPoint[0])) if told and told.scale is not None else (1.0, 0)
    name = tensor.name.decode() if isinstance(tensor.name, bytes) else tensor.name
    return name, [int(size) for size in tensor.shape], scale, zero_point + offset


@pytest.fixture
def small_tflite(tmp_path: Path) -> Path:
    """Return a file of one addition of integers, and one of them: enough for a stand-in that does not read it."""
    schema = _schema()
    tensors = []
    for name in ("image", "scores"):
        tensor = schema.TensorT()
        tensor.name, tensor.shape, tensor.type, tensor.quantization = name, [1, 4], schema.TensorType.INT8, None
        tensors.append(tensor)
    code, operator, graph, model = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.ADD
    code.version = 1
    operator.inputs, operator.outputs = [0, 0], [1]
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [1], [operator]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    place = tmp_path / "given by a user" / "small model.tflite"
    place.parent.mkdir()
    place.write_bytes(bytes(builder.Output()))
    return place
