# SPDX-License-Identifier: Apache-2.0
"""The format and the target of docs/extending.md, copied from the page into a copy of the repository and run there."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from edgeferry.models.config.spec import ModelSpec
from edgeferry.models.system.places import ROOT

pytestmark = pytest.mark.slow

PAGE: Final = ROOT / "docs" / "extending.md"
FILE: Final = re.compile(r'^```python title="([\w/]+\.py)"\n(.*?)^```', re.DOTALL | re.MULTILINE)
COPIED: Final = ("edgeferry", "models", "exporters", "targets", "benchmarks", "docs")
LEFT_OUT: Final = shutil.ignore_patterns("node_modules", "__pycache__")


@pytest.fixture
def extended(tmp_path: Path) -> Path:
    """Return a copy of the repository with the files that the page shows."""
    for folder in COPIED:
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=LEFT_OUT)
    for file in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / file, tmp_path / file)
    for name, text in FILE.findall(PAGE.read_text(encoding="utf-8")):
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def run(checkout: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command, environment = [sys.executable, *words], os.environ | {"PYTHONPATH": str(checkout)}
    return subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=600, check=False)


def test_the_page_shows_one_format_and_one_target() -> None:
    names = [name for name, _ in FILE.findall(PAGE.read_text(encoding="utf-8"))]
    assert names == ["exporters/graphdef.py", "targets/tensorflow_graph.py"]


def test_a_file_is_enough_to_be_listed_and_documented(extended: Path) -> None:
    assert "graphdef" in run(extended, "-m", "edgeferry", "formats").stdout
    assert "tensorflow-graph" in run(extended, "-m", "edgeferry", "targets").stdout
    done = run(extended, "docs/generate.py")
    assert done.returncode == 0, done.stderr
    assert "| `graphdef` |" in (extended / "README.md").read_text(encoding="utf-8")
    assert "| `tensorflow-graph` |" in (extended / "docs" / "targets" / "index.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_new_format_is_exported_and_passes_on_the_new_target(extended: Path, digits: ModelSpec) -> None:
    build = extended / "build"
    options = ("--build", str(build), "--format", "graphdef", "--target", "tensorflow-graph")
    done = run(extended, "-m", "edgeferry", "export-all", str(digits.path), *options)
    assert done.returncode == 0, done.stderr
    rows = json.loads((build / "digits" / "report.json").read_text(encoding="utf-8"))["rows"]
    # Status 0 says that a row passed, and this is the only one.
    assert [(row["format"], row["target"]) for row in rows] == [("graphdef", "tensorflow-graph")]
