# SPDX-License-Identifier: Apache-2.0
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.exporters.container import PARENT, PROGRAM, write
from edgeferry.exporters.graph.source import read_source
from edgeferry.models.artifact import read_artifact, what_changed
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import sha256_of
from edgeferry.models.system.places import ROOT

LOADED: Final = """
import json, sys
import edgeferry.exporters.endpoint.__main__, edgeferry.exporters.endpoint.rpc
print(json.dumps([module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "edgeferry"]))
"""
PIN: Final = re.compile(r"^([a-z0-9-]+)==(\S+)", re.MULTILINE)


@pytest.fixture
def folder(exported_colours: Any) -> Path:
    return exported_colours.build / "container-float32"


def test_it_holds_the_onnx_artifact_itself(folder: Path, exported_colours: Any) -> None:
    assert sha256_of(folder / "colours.onnx") == sha256_of(exported_colours.build / "onnx-float32" / "model.onnx")


def test_the_dockerfile_names_the_model_and_copies_everything_it_runs(folder: Path) -> None:
    text = (folder / "Dockerfile").read_text()
    assert 'CMD ["colours.onnx"]' in text
    copied = {source for line in text.splitlines() if line.startswith("COPY ") for source in line.split()[1:-1]}
    assert copied == {"requirements.txt", "edgeferry", "colours.onnx", "sbom.cdx.json"}
    assert all((folder / source).exists() for source in copied)


def test_the_program_imports_only_modules_in_the_folder(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-B", "-c", LOADED], cwd=folder, capture_output=True, text=True, check=True)
    loaded = [Path(file) for file in json.loads(done.stdout)]
    assert len(loaded) >= len(PROGRAM) - 1
    assert all(file.is_relative_to(folder.resolve()) for file in loaded), loaded


def test_its_requirements_are_pinned_as_in_the_lock_with_hashes(folder: Path) -> None:
    text = (folder / "requirements.txt").read_text()
    here = dict(PIN.findall((ROOT / "requirements.lock").read_text()))
    pinned = dict(PIN.findall(text))
    required = (ROOT / "exporters" / "endpoint" / "requirements.in").read_text().split()
    assert set(required) <= set(pinned)
    assert {name: here.get(name) for name in pinned} == pinned
    assert text.count("--hash=sha256:") >= len(pinned)


def test_its_bill_of_materials_lists_what_is_installed(folder: Path) -> None:
    listed = {each["name"]: each["version"] for each in json.loads((folder / "sbom.cdx.json").read_text())["components"]}
    assert listed == dict(PIN.findall((folder / "requirements.txt").read_text()))


def test_running_it_in_place_does_not_change_the_artifact(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-c", LOADED], cwd=copy, env=environment, capture_output=True, check=True)
    assert list(copy.rglob("*.pyc"))
    assert what_changed(read_artifact(copy), copy) is None


def test_it_is_refused_without_the_onnx_artifact(exported_colours: Any, tmp_path: Path) -> None:
    source = read_source(exported_colours.spec, exported_colours.build / "reference")
    (tmp_path / "container-float32").mkdir()
    with pytest.raises(EdgeError, match=PARENT):
        write(source, tmp_path / "container-float32")
