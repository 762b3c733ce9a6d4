# SPDX-License-Identifier: Apache-2.0
"""The distribution files, built from a copy of this checkout, and an environment with the wheel installed."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from typing import Final

import pytest

from edgeferry.models.system.places import ROOT

# The folders of a checkout that a wheel is built of, and the package that each becomes.
PACKAGES: Final = {"edgeferry": "edgeferry"} | {
    name: f"edgeferry/{name}" for name in ("models", "exporters", "targets", "benchmarks")
}
FILES: Final = ("pyproject.toml", "README.md", "LICENSE")
NOT_OURS: Final = shutil.ignore_patterns("node_modules", "__pycache__")


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of what is packaged: building writes into the checkout."""
    folder = tmp_path_factory.mktemp("checkout")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, folder / name, ignore=NOT_OURS)
    for name in FILES:
        shutil.copyfile(ROOT / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def distributions(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return the source distribution and the wheel that is built from it, by what is installed."""
    place = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", place, checkout]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return sorted(place.iterdir())


@pytest.fixture(scope="session")
def wheel(distributions: list[Path]) -> Path:
    (found,) = (path for path in distributions if path.suffix == ".whl")
    return found


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with the wheel installed, next to the dependencies of the one that runs the tests."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "--disable-pip-version-check"]
    install = [*pip, "install", "--quiet", "--no-deps", "--no-index", wheel]
    done = subprocess.run(install, capture_output=True, text=True, timeout=120, check=False, env=_clean())
    assert done.returncode == 0, done.stderr
    # A path alone: the .pth files below it, such as a checkout's own, are not read.
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    return folder


def _clean() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="session")
def clean_variables() -> dict[str, str]:
    """Return the variables of this process without those that change what Python imports."""
    return _clean()
