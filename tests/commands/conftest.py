# SPDX-License-Identifier: Apache-2.0
"""The command in a process of its own, also on a machine that lacks most packages."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from PIL import Image

from edgeferry.models.system.places import ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]

# Hides packages as if they were not installed: from imports, from find_spec and from importlib.metadata.
HIDE: Final = """\
import importlib.metadata, sys
from importlib.machinery import PathFinder

HIDDEN = {hidden!r}
DISTRIBUTIONS = {{"scikit-learn", "tensorflow-cpu", "nvidia-ml-py", "vl-convert-python", "ai-edge-litert", *HIDDEN}}

class Hiding(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        hidden = fullname.partition(".")[0] in HIDDEN
        return None if hidden else PathFinder.find_spec(fullname, path, target)

sys.meta_path[:] = [Hiding if each is PathFinder else each for each in sys.meta_path]
found = importlib.metadata.Distribution.from_name

def from_name(name):
    if name in DISTRIBUTIONS:
        raise importlib.metadata.PackageNotFoundError(name)
    return found(name)

importlib.metadata.Distribution.from_name = from_name
"""
BEYOND_BASE: Final = (
    *("ai_edge_litert", "altair", "coremltools", "flatbuffers", "h5py", "keras", "onnx", "onnxruntime", "playwright", "pynvml"),
    *("PIL", "scipy", "sklearn", "starlette", "tensorflow", "tensorflowjs", "tf2onnx", "uvicorn", "vl_convert"),
)


@pytest.fixture
def edgeferry() -> Run:
    """Return a function that runs the command in a folder; ``first`` is the first folder on Python's path."""

    def run(*words: str | Path, cwd: Path, first: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        path = os.pathsep.join(map(str, filter(None, (first, ROOT, os.environ.get("PYTHONPATH")))))
        return subprocess.run(
            [sys.executable, "-m", "edgeferry", *map(str, words)],
            cwd=cwd,
            env=os.environ | {"PYTHONPATH": path} | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def base_install(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that, first on Python's path, hides every package that only an extra installs."""
    folder = tmp_path_factory.mktemp("base")
    (folder / "sitecustomize.py").write_text(HIDE.format(hidden=set(BEYOND_BASE)), encoding="utf-8")
    return folder


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a folder with a config, golden images, and files of each kind that look right from outside."""
    folder = tmp_path / "my project"
    for label in ("cat", "dog"):
        for number in range(2):
            place = folder / "golden" / label / f"{number}.png"
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 6, 3), number, np.uint8)).save(place)
    (folder / "my.toml").write_text(
        '[model]\nfile = "my.keras"\nlabels = ["cat", "dog"]\n[input]\nshape = [8, 6, 3]\nrange = [0, 255]\n'
        '[data]\ngolden = "golden"\n',
        encoding="utf-8",
    )
    with zipfile.ZipFile(folder / "my.keras", "w") as archive:
        archive.writestr("config.json", json.dumps({"module": "keras", "class_name": "Functional", "config": {}}))
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1"}))
    for name in ("my.tflite", "my.onnx"):
        (folder / name).write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(64))
    return folder
