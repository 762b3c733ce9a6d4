# SPDX-License-Identifier: Apache-2.0
"""`pip install edgeferry` without extras: every command ends in one line that says what to install, never in a traceback."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.commands.app import app
from edgeferry.models.system.places import ROOT

pytestmark = pytest.mark.slow

# A command that is not listed is run with a config alone.
ARGUMENTS: Final = {
    "certify": ("my.toml",),
    "compare": ("build/my/a", "build/my/b"),
    "compile": ("my.tflite",),
    "conform": ("my-web", "made"),
    "diff": ("my.tflite", "my.onnx"),
    "doctor": (),
    "drift": ("my.toml", "--images", "new"),
    "explain": ("my.toml",),
    "formats": (),
    "init": ("new.keras",),
    "inspect": ("my.onnx",),
    "lint": ("my.tflite", "--for", "litert-2.3"),
    "probe-ops": (),
    "ship": ("my.toml", "--for", "web"),
    "sustain": ("my.toml", "--format", "tflite-float32"),
    "targets": (),
    "verify": ("certificate.json",),
    "train": ("models/digits.toml",),
}
LISTS: Final = {"doctor", "formats", "targets"}
NEEDS_EXPORT: Final = {"export", "export-all", "init", "train", "validate"}
COMMANDS: Final = [str(each.name or each.callback.__name__) for each in app.registered_commands if each.callback]


@pytest.fixture
def here(project: Path) -> Path:
    """Return the project with a second Keras file and the default config."""
    shutil.copy(project / "my.keras", project / "new.keras")
    (project / "models").mkdir()
    shutil.copy(ROOT / "models" / "digits.toml", project / "models")
    return project


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_ends_with_one_line_or_a_list(edgeferry: Callable[..., Any], base_install: Path, here: Path, name: str) -> None:
    done = edgeferry("-q", name, *ARGUMENTS.get(name, ("my.toml",)), cwd=here, first=base_install)
    assert "Traceback" not in done.stdout + done.stderr
    if name in LISTS:
        assert (done.returncode, done.stderr) == (0, "")
        return
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("edgeferry: ")
    assert done.stderr.count("\n") == 1
    if name in NEEDS_EXPORT:
        assert "pip install 'edgeferry[export]'" in done.stderr
        assert "[EF-package-missing]" in done.stderr


@pytest.mark.parametrize("name", COMMANDS)
def test_help_needs_no_package_of_an_extra(edgeferry: Callable[..., Any], base_install: Path, here: Path, name: str) -> None:
    done = edgeferry(name, "--help", cwd=here, first=base_install)
    assert done.returncode == 0
    assert f"edgeferry {name}" in done.stdout


def test_the_packages_are_really_hidden(edgeferry: Callable[..., Any], base_install: Path, here: Path) -> None:
    (base_install / "probe.py").write_text(
        "import importlib.util, importlib.metadata\n"
        "assert importlib.util.find_spec('keras') is None\n"
        "try:\n    importlib.metadata.version('keras')\n"
        "except importlib.metadata.PackageNotFoundError:\n    pass\n"
        "else:\n    raise SystemExit('keras has a version')\n"
        "import numpy\n",
        encoding="utf-8",
    )
    site = base_install / "sitecustomize.py"
    site.write_text(site.read_text(encoding="utf-8") + "import probe\n", encoding="utf-8")
    assert edgeferry("--version", cwd=here, first=base_install).stderr == ""
