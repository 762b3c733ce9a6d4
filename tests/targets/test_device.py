# SPDX-License-Identifier: Apache-2.0
import ast
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest

from models.images import normalise
from models.spec import ModelSpec

PROGRAM: Final = Path(__file__).parents[2] / "targets" / "device.py"
ALLOWED: Final = {"numpy", "tflite_runtime", "ai_edge_litert"}


def run_device(folder: Path, model: Path, images: np.ndarray, python: str = sys.executable) -> tuple[int, dict[str, Any]]:
    folder.mkdir(exist_ok=True)
    np.save(folder / "images.npy", images)
    files = {"model": str(model), "images": "images.npy", "scores": "scores.npy", "result": "result.json"}
    (folder / "job.json").write_text(json.dumps({**files, "warmup": 1, "rounds": 3, "threads": 1}))
    shutil.copy(PROGRAM, folder)
    done = subprocess.run([python, "-E", "device.py", "job.json"], cwd=folder, check=False)
    return done.returncode, json.loads((folder / "result.json").read_text())


def test_it_is_python_3_7() -> None:
    ast.parse(PROGRAM.read_text(encoding="utf-8"), feature_version=(3, 7))


def test_it_imports_nothing_of_ours_and_nothing_a_board_lacks() -> None:
    tree = ast.walk(ast.parse(PROGRAM.read_text(encoding="utf-8")))
    names = {alias.name for node in tree if isinstance(node, ast.Import) for alias in node.names}
    tree = ast.walk(ast.parse(PROGRAM.read_text(encoding="utf-8")))
    names |= {node.module or "" for node in tree if isinstance(node, ast.ImportFrom)}
    foreign = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names)
    assert foreign == ALLOWED


def test_a_real_python_3_7_compiles_it(tmp_path: Path) -> None:
    found = [shutil.which("python3.7"), *Path("~/.pyenv/versions").expanduser().glob("3.7.*/bin/python")]
    # pyenv leaves a python3.7 on PATH that only says where there is one.
    works = [
        path for path in found if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0
    ]
    python = next(iter(works), None)
    if python is None:
        pytest.skip("no Python 3.7 on this machine (looked on PATH and under ~/.pyenv)")
    subprocess.run([python, "-m", "py_compile", shutil.copy(PROGRAM, tmp_path)], check=True)


def test_it_runs_with_the_newer_runtime_where_the_older_is_absent(build: Path, colours: ModelSpec, tmp_path: Path) -> None:
    images = normalise(np.load(build / "reference" / "pixels.npy")[:4], colours.preprocessing)
    status, result = run_device(tmp_path / "work", build / "tflite-int8" / "model.tflite", images)
    assert (status, result["error"], result["environment"]["runtime"]) == (0, None, "ai_edge_litert")
    assert len(result["latencies_ms"]) == 3
    stored = np.load(tmp_path / "work" / "scores.npy")
    scale, zero_point = result["output"]["quantization"]
    assert abs((stored.astype(float) - zero_point) * scale - np.load(build / "reference" / "scores.npy")[:4]).max() < 0.15


def test_what_went_wrong_is_told_in_the_result(tmp_path: Path) -> None:
    status, result = run_device(tmp_path / "work", tmp_path / "none.tflite", np.zeros((1, 2, 2, 1), np.float32))
    assert status == 2
    assert result["error"]["kind"] == "FileNotFoundError"
    assert "none.tflite" in result["error"]["message"]


def test_the_model_that_ran_is_told_by_its_sha256(build: Path, colours: ModelSpec, tmp_path: Path) -> None:
    images = normalise(np.load(build / "reference" / "pixels.npy")[:1], colours.preprocessing)
    _, result = run_device(tmp_path / "work", build / "tflite-float32" / "model.tflite", images)
    told = json.loads((build / "tflite-float32" / "manifest.json").read_text())
    assert result["model_sha256"] == told["files"]["model.tflite"]["sha256"]
