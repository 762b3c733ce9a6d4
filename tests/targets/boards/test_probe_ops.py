# SPDX-License-Identifier: Apache-2.0
"""The tables of operations, asked again of the runtimes that are here."""

import ast
import json
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from edgeferry.commands.app import app
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.boards.probe_ops import NOT_INSTALLED, Runtime, ask, one_operation, operations, probe, runtimes

PROGRAM: Final = ROOT / "targets" / "boards" / "probe_device.py"
ASKED: Final = ("CONV_2D", "FULLY_CONNECTED", "GELU", "QUANTIZE", "LSTM", "BROADCAST_TO", "READ_VARIABLE", "STABLEHLO_ADD")


def _present(name: str) -> Runtime:
    runtime = runtimes()[name]
    if runtime.installed() is None:
        pytest.skip(NOT_INSTALLED.format(runtime.python))
    return runtime


def _table(name: str) -> Any:
    return json.loads((ROOT / "exporters" / "lint" / "op_versions" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", list(runtimes()))
def test_the_runtime_still_says_what_its_table_says(name: str) -> None:
    told, table = _present(name).installed(), _table(name)
    assert told == table["runtime"]
    assert probe(runtimes()[name], ASKED) == {each: table["highest"][each] for each in ASKED if each in table["highest"]}


def test_the_runtimes_differ_where_classifiers_notice() -> None:
    gelu = {name: _table(name)["highest"].get("GELU", 0) for name in runtimes()}
    assert gelu == {"tflite-2.5": 0, "tflite-2.7": 0, "tflite-2.10": 2, "tflite-2.14": 2, "litert-2.3": 3}


def test_a_file_that_ends_the_runtime_does_not_lose_the_rest(tmp_path: Path) -> None:
    # A stand-in for the runtime's Python: it is killed by the second file, in the place where a real one would be.
    real = _present("litert-2.3")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f'#!/bin/sh\nsed -i "s/^def answer(.*/&\\n    import os\\n    model == b\'bad\' and os.abort()/" "$3"\n'
        f'exec "{real.python}" "$@"\n'
    )
    python.chmod(0o755)
    fragile = Runtime("fragile", python, real.distributions)
    site = tmp_path / "lib" / "python3.11"
    site.mkdir(parents=True)
    (site / "site-packages").symlink_to(next((real.python.parent.parent / "lib").glob("python3*/site-packages")))
    add = one_operation(operations()["ADD"], 1)
    answers = ask(fragile, {"one": add, "two": b"bad", "three": add})
    assert {name: answers[name] for name in ("one", "two", "three")} == {"one": "ok", "two": "killed", "three": "ok"}


def test_a_runtime_that_is_absent_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="it is not installed"):
        probe(Runtime("none", tmp_path / "bin" / "python", ("tflite-runtime",)))


def test_the_command_writes_a_table(tmp_path: Path) -> None:
    _present("litert-2.3")
    done = CliRunner().invoke(app, ["probe-ops", "litert-2.3", "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "litert-2.3.json").read_text(encoding="utf-8")) == _table("litert-2.3")


def test_the_program_for_old_runtimes_is_python_3_7() -> None:
    ast.parse(PROGRAM.read_text(encoding="utf-8"), feature_version=(3, 7))
