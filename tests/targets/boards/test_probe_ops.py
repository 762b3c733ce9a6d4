# SPDX-License-Identifier: Apache-2.0
"""The tables of operations, probed again on the runtimes that are installed here."""

import ast
import json
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from edgeferry.commands.app import app
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.boards.probe_ops import NOT_INSTALLED, ProbedRuntime, load_all, one_operation, operations, probe, runtimes

pytestmark = pytest.mark.slow

PROGRAM: Final = ROOT / "targets" / "boards" / "probe_device.py"
SAMPLE: Final = ("CONV_2D", "FULLY_CONNECTED", "GELU", "QUANTIZE", "LSTM", "BROADCAST_TO", "READ_VARIABLE", "STABLEHLO_ADD")


def _present(name: str) -> ProbedRuntime:
    runtime = runtimes()[name]
    if runtime.installed() is None:
        pytest.skip(NOT_INSTALLED.format(runtime.python))
    return runtime


def _table(name: str) -> Any:
    return json.loads((ROOT / "exporters" / "lint" / "op_versions" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", list(runtimes()))
def test_the_runtime_still_agrees_with_its_table(name: str) -> None:
    installed, table = _present(name).installed(), _table(name)
    assert installed == table["runtime"]
    assert probe(runtimes()[name], SAMPLE) == {each: table["highest"][each] for each in SAMPLE if each in table["highest"]}


def test_the_runtimes_differ_in_operations_of_classifiers() -> None:
    gelu = {name: _table(name)["highest"].get("GELU", 0) for name in runtimes()}
    assert gelu == {"tflite-2.5": 0, "tflite-2.7": 0, "tflite-2.10": 2, "tflite-2.14": 2, "litert-2.3": 3}


def test_a_file_that_crashes_the_runtime_does_not_lose_the_rest(tmp_path: Path) -> None:
    # A replacement of the runtime's Python: the second file kills it, where it would kill a real one.
    real = _present("litert-2.3")
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(
        f'#!/bin/sh\nsed -i "s/^def load(.*/&\\n    import os\\n    model == b\'bad\' and os.abort()/" "$3"\n'
        f'exec "{real.python}" "$@"\n'
    )
    python.chmod(0o755)
    fragile = ProbedRuntime("fragile", python, real.distributions)
    site = tmp_path / "lib" / "python3.11"
    site.mkdir(parents=True)
    (site / "site-packages").symlink_to(next((real.python.parent.parent / "lib").glob("python3*/site-packages")))
    add = one_operation(operations()["ADD"], 1)
    results = load_all(fragile, {"one": add, "two": b"bad", "three": add})
    assert {name: results[name] for name in ("one", "two", "three")} == {"one": "ok", "two": "killed", "three": "ok"}


def test_a_missing_runtime_is_reported(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-runtime-not-installed"):
        probe(ProbedRuntime("none", tmp_path / "bin" / "python", ("tflite-runtime",)))


def test_the_command_writes_a_table(tmp_path: Path) -> None:
    _present("litert-2.3")
    done = CliRunner().invoke(app, ["probe-ops", "litert-2.3", "--folder", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert json.loads((tmp_path / "litert-2.3.json").read_text(encoding="utf-8")) == _table("litert-2.3")


def test_the_program_for_old_runtimes_is_python_3_7() -> None:
    ast.parse(PROGRAM.read_text(encoding="utf-8"), feature_version=(3, 7))
