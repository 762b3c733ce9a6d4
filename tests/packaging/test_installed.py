# SPDX-License-Identifier: Apache-2.0
"""The wheel, installed, in a user's folder that has a ``models`` and a ``targets`` package of its own."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.exporters.format import formats
from edgeferry.models.system.places import ROOT
from edgeferry.targets.target import targets

pytestmark = pytest.mark.slow

CHECKS: Final = ("--target", "litert", "--target", "onnxruntime-cpu")
IMPORT_EVERYTHING: Final = """
import importlib, sys
from pathlib import Path
import edgeferry
from edgeferry.exporters.format import formats
from edgeferry.models.system.files import modules_below
from edgeferry.targets.target import targets

formats(), targets()
for package in ("models", "exporters", "targets", "benchmarks", "commands"):
    importlib.import_module(f"edgeferry.{package}")
print(*{module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "edgeferry"}, sep="\\n")
"""
WRITE_CONTEXT: Final = """
import sys
from pathlib import Path
from types import SimpleNamespace
from edgeferry.exporters.container import write

write(SimpleNamespace(spec=SimpleNamespace(name="digits"), output="probabilities"), Path(sys.argv[1]))
"""

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Return a user's folder whose packages must not be taken for those of edgeferry."""
    for name in ("models", "exporters", "targets", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('the {name} of a user')\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
def run(environment: Path, clean_variables: dict[str, str], project: Path) -> Run:
    """Return a function that runs a program of the environment in the user's folder."""

    def program(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [environment / "bin" / name, *arguments],
            cwd=project,
            env=clean_variables,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return program


def test_everything_is_imported_from_the_environment(run: Run, environment: Path) -> None:
    done = run("python", "-c", IMPORT_EVERYTHING)
    assert done.returncode == 0, done.stderr
    files = [Path(line) for line in done.stdout.splitlines()]
    assert len(files) > 30
    assert all(path.is_relative_to(environment) for path in files)
    assert not any(path.is_relative_to(ROOT) for path in files)


def test_the_version_is_the_distribution_s(run: Run, wheel: Path) -> None:
    done = run("edgeferry", "--version")
    assert (done.returncode, done.stdout) == (0, f"edgeferry {wheel.name.split('-')[1]}\n")


def test_pytest_finds_the_plugin(run: Run) -> None:
    script = "from importlib.metadata import entry_points as found; print(*(each.value for each in found(group='pytest11')))"
    assert "edgeferry.commands.pytest_plugin" in run("python", "-c", script).stdout.split()


@pytest.mark.parametrize(("command", "known"), [("formats", formats), ("targets", targets)])
def test_it_lists_what_the_checkout_lists(run: Run, command: str, known: Callable[[], dict[str, Any]]) -> None:
    done = run("edgeferry", command, "--json")
    assert done.returncode == 0, done.stderr
    assert {each["name"] for each in json.loads(done.stdout)["items"]} == set(known())


def test_doctor_knows_every_format_and_target(run: Run) -> None:
    done = run("edgeferry", "doctor")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in (*formats(), *targets()))


@pytest.mark.parametrize("program", [("edgeferry",), ("python", "-m", "edgeferry")], ids=" ".join)
def test_it_checks_a_build_folder_of_another_machine(
    run: Run, program: tuple[str, ...], exported_digits: Any, project: Path
) -> None:
    shutil.copytree(exported_digits.build, project / "build" / "digits")
    done = run(*program, "check", "build/digits", *CHECKS)
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads((project / "build" / "digits" / "report.json").read_text(encoding="utf-8"))["rows"]
    assert {("tflite-int8", "litert"), ("onnx-float32", "onnxruntime-cpu")} <= {
        (row["format"], row["target"]) for row in rows if row["verdict"]["outcome"] == "passed"
    }


def test_a_container_s_build_context_has_all_its_files(run: Run, exported_digits: Any, project: Path) -> None:
    for name in ("onnx-float32", "container-float32"):
        shutil.copytree(exported_digits.build / name, project / "build" / name)
    folder = project / "build" / "container-again"
    folder.mkdir()
    done = run("python", "-c", WRITE_CONTEXT, folder)
    assert done.returncode == 0, done.stderr
    expected = {
        path.relative_to(project / "build" / "container-float32"): path.read_bytes()
        for path in (project / "build" / "container-float32").rglob("*")
        if path.is_file() and path.name not in {"manifest.json", "export.log"}
    }
    found = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert found == expected
