# SPDX-License-Identifier: Apache-2.0
"""``pytest --edgeferry build/my`` in processes of its own, on a build with good artifacts, a damaged one and an absent one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as ET

import pytest

from edgeferry.models.artifact import read_artifact
from edgeferry.models.exports import Export, Exports, record_manifest, write_exports
from edgeferry.models.reference import REFERENCE
from edgeferry.models.system.places import ROOT

# By its module's name and not by the entry point, which only an installation has.
PLUGIN: Final = ("-p", "no:edgeferry", "-p", "edgeferry.commands.pytest_plugin", "-p", "no:cacheprovider")
TARGETS: Final = ("--edgeferry-target", "litert", "--edgeferry-target", "onnxruntime-cpu")


def run(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", *PLUGIN, *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def folder(exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a build of two good artifacts, a damaged one and one that was not exported."""
    folder = tmp_path_factory.mktemp("plugin")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = --strict-markers\n", encoding="utf-8")
    build, names = folder / "digits", ("onnx-float32", "tflite-float32", "tflite-int8")
    for name in (REFERENCE, *names):
        shutil.copytree(exported_digits.build / name, build / name)
    absent = Export("edgetpu-int8", "not run", "no compiler")
    write_exports(build, Exports((*(Export(name, "written", "") for name in names), absent)))
    for name in names:
        record_manifest(build, name)
    file = build / "tflite-int8" / read_artifact(build / "tflite-int8").main_file
    file.write_bytes(file.read_bytes()[:-40])
    return folder


@pytest.fixture(scope="module")
def ran(folder: Path) -> "subprocess.CompletedProcess[str]":
    """Return what two workers say of all results, three of which have to pass."""
    required = (word for each in ("edgetpu-int8", "onnx-float32", "keras") for word in ("--edgeferry-require", each))
    return run(folder, "--edgeferry", "digits", *TARGETS, "-n", "2", "-rA", "--junitxml", "junit.xml", *required)


def ends(folder: Path) -> dict[str, str]:
    """Return how each test ended: 'passed', or the tag of its JUnit element."""
    cases = ET.parse(folder / "junit.xml").iter("testcase")  # noqa: S314 - pytest wrote it
    tags = {case.attrib["name"]: {child.tag for child in case} - {"properties"} for case in cases}
    return {name: next(iter(found), "passed") for name, found in tags.items()}


def test_every_result_is_a_test_and_what_is_required_fails_where_it_is_missing(folder: Path, ran: Any) -> None:
    assert ran.returncode == 1
    assert ends(folder) == {
        "tflite-float32[litert]": "passed",
        "onnx-float32[onnxruntime-cpu]": "passed",
        "tflite-int8[litert]": "failure",
        "edgetpu-int8": "failure",
        "keras": "failure",
    }


def test_a_failure_is_its_reason_and_code_without_a_traceback(ran: Any) -> None:
    assert "failed: model.tflite is not the file that was exported" in ran.stdout
    assert "[EF-artifact-changed]" in ran.stdout
    assert "Traceback" not in ran.stdout
    assert ".py:" not in ran.stdout


def test_what_is_not_run_is_skipped_with_its_reason_and_markers_select_targets(folder: Path) -> None:
    done = run(folder, "--edgeferry", "digits", *TARGETS, "-rs", "-m", "edgeferry and not litert and not onnxruntime-cpu")
    assert done.returncode == 0, done.stdout
    assert "not run: no compiler" in done.stdout
    assert "1 skipped, 3 deselected" in done.stdout


def test_collecting_runs_nothing(folder: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (folder / "digits").rglob("*")}
    done = run(folder, "--edgeferry", "digits", *TARGETS, "--collect-only", "-q")
    assert "digits::tflite-float32[litert]" in done.stdout.splitlines()
    assert {path: path.stat().st_mtime_ns for path in (folder / "digits").rglob("*")} == before


def test_what_is_no_build_folder_is_a_wrong_command(tmp_path: Path) -> None:
    done = run(tmp_path, "--edgeferry", "nowhere")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "[EF-model-missing]" in done.stderr


def test_without_the_option_nothing_is_imported(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import sys\n\n\ndef test_it():\n"
        "    assert 'edgeferry.commands.pytest_plugin' in sys.modules\n"
        "    assert not {'numpy', 'typer', 'edgeferry.benchmarks', 'edgeferry.models'} & set(sys.modules)\n",
        encoding="utf-8",
    )
    done = run(tmp_path, "-p", "no:benchmark")
    assert done.returncode == 0, done.stdout
