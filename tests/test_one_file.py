# SPDX-License-Identifier: Apache-2.0
"""One new file is a new format, one is a new target: lists, tables, reports and the tests that hold for all know them."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from jsonschema import Draft202012Validator

from edgeferry.models.system.files import files_below
from edgeferry.models.system.places import ROOT

pytestmark = pytest.mark.slow

FOLDERS: Final = ("edgeferry", "models", "exporters", "targets", "benchmarks", "tests")
FEW: Final = ("tflite-float32", "onnx-float32")
EXPORT: Final = [word for name in (*FEW, "toy") for word in ("--format", name)]
RUN: Final = [word for name in ("litert", "onnxruntime-cpu", "toy") for word in ("--target", name)]
# What holds for every format and every target.
FOR_ALL: Final = (
    "tests/exporters/test_every_format.py",
    "tests/targets/test_every_target.py",
    "tests/benchmarks/parity/test_spoiled.py",
)
FORMAT: Final = '''\
"""A toy: a TF Lite file under another name."""

from dataclasses import replace

from edgeferry.exporters.format import Format
from edgeferry.exporters.tflite.formats import TOOLS, float32
from edgeferry.models.artifact import Tolerance

FILE = "model.toy"


def write(source, folder):
    written = float32(source, folder)
    (folder / written.main_file).rename(folder / FILE)
    return replace(written, main_file=FILE)


FORMATS = (
    Format("toy", "toy", "a toy of one file", Tolerance(1.0, 1e-3, 1e-4, "the arithmetic of tflite-float32"), write, TOOLS),
)
'''
TARGET: Final = '''\
"""A toy: what runs the toy's files, with a runtime of this machine."""

from edgeferry.targets.host.installed import needs, versions
from edgeferry.targets.litert.cpu import opened
from edgeferry.targets.target import Target
from edgeferry.targets.timing import run_of


def run(job):
    return run_of(opened(job), job)


TARGETS = (
    Target(
        name="toy",
        summary="a toy's runtime",
        reads=frozenset({"toy"}),
        missing=needs("ai_edge_litert"),
        run=run,
        versions=versions("ai-edge-litert", "numpy"),
        open=opened,
    ),
)
'''


class Checkout(NamedTuple):
    """A copy of the packages with the two files, and the default classifier's build folder in it."""

    root: Path
    build: Path
    done: subprocess.CompletedProcess[str]

    def run(self, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a module of Python in the copy."""
        return _python(self.root, *words, **variables)


def _python(root: Path, *words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    mine = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHON"))}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=root,
        env=mine | {"PYTHONPATH": str(root)} | variables,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


@pytest.fixture(scope="module")
def checkout(digits: Any, exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """Return the copy after the whole command has run in it, where some formats were exported before the files were added."""
    root = tmp_path_factory.mktemp("checkout")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
    modules = ROOT / "targets" / "web" / "node_modules"
    if modules.is_dir():
        (root / "targets" / "web" / "node_modules").symlink_to(modules)
    build = root / "build" / digits.name
    for name in (*FEW, "reference"):
        shutil.copytree(exported_digits.build / name, build / name)
    shutil.copyfile(exported_digits.build / "exports.json", build / "exports.json")
    (root / "exporters" / "toy.py").write_text(FORMAT, encoding="utf-8")
    (root / "targets" / "toy.py").write_text(TARGET, encoding="utf-8")
    done = _python(root, "edgeferry", "export-all", digits.path, "--build", build.parent, *EXPORT, *RUN)
    assert done.returncode == 0, done.stdout + done.stderr
    return Checkout(root, build, done)


@pytest.mark.parametrize("command", ["formats", "targets"])
def test_it_is_listed(checkout: Checkout, command: str) -> None:
    items = json.loads(checkout.run("edgeferry", command, "--json").stdout)["items"]
    (toy,) = (each for each in items if each["name"] == "toy")
    assert toy["state"] == "ready"
    assert toy["summary"].startswith("a toy")
    assert len(items) > 10


def test_it_is_in_the_table(checkout: Checkout) -> None:
    lines = [line for line in checkout.done.stdout.splitlines() if line.count("toy") >= 2]
    assert any("passed" in line for line in lines)


@pytest.mark.parametrize("name", ["report.md", "report.html"])
def test_it_is_in_the_report(checkout: Checkout, name: str) -> None:
    assert (checkout.build / name).read_text(encoding="utf-8").count("toy") >= 2


def test_it_is_in_the_json_which_keeps_to_its_schema(checkout: Checkout) -> None:
    report = json.loads((checkout.build / "report.json").read_text(encoding="utf-8"))
    schema = json.loads((checkout.root / "benchmarks" / "parity" / "report.schema.json").read_text(encoding="utf-8"))
    Draft202012Validator(schema).validate(report)
    (row,) = (row for row in report["rows"] if row["format"] == "toy")
    assert (row["target"], row["verdict"]["outcome"]) == ("toy", "passed")
    assert row["verdict"]["metrics"]["top1_agreement"] == 1


def test_inspect_prints_what_holds_for_every_artifact(checkout: Checkout) -> None:
    done = checkout.run("edgeferry", "inspect", checkout.build / "toy")
    assert done.returncode == 0, done.stderr
    assert "toy" in done.stdout


def test_no_other_artifact_is_written_again(checkout: Checkout) -> None:
    exports = json.loads((checkout.build / "exports.json").read_text(encoding="utf-8"))["formats"]
    assert {each["format"]: each["state"] for each in exports} == dict.fromkeys(FEW, "kept") | {"toy": "written"}


def test_it_is_written(checkout: Checkout) -> None:
    assert "model.toy" in {path.name for path in files_below(checkout.build / "toy")}


def test_what_holds_for_all_is_tested_for_it(
    checkout: Checkout, fixture_cache: Any, record_property: Callable[[str, object], None]
) -> None:
    variables = {"EDGEFERRY_TEST_CACHE": str(fixture_cache.folder), "EDGEFERRY_TEST_FORMATS": "toy"}
    done = checkout.run("pytest", "-v", "-p", "no:cacheprovider", "-k", "toy", *FOR_ALL, **variables)
    record_property("toy", done.stdout)
    assert done.returncode == 0, done.stdout
    for test in (
        "test_it_is_written[exported_digits-toy]",
        "test_it_is_written[exported_colours-toy]",
        "test_its_manifest_keeps_to_the_published_schema[exported_digits-toy]",
        "test_it_predicts_like_the_keras_model[toy-toy]",
        "test_what_is_whole_passes[toy]",
        "test_a_spoiled_model_fails[toy-zero_weights]",
        "test_a_file_cut_short_fails[toy]",
    ):
        assert f"::{test} PASSED" in done.stdout
