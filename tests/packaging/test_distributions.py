# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from typing import Final

import pytest

pytestmark = pytest.mark.slow

PACKAGES: Final = ("models", "exporters", "targets", "benchmarks")


def _files(folder: Path) -> set[str]:
    """Return the files of the packages, as they are named once installed."""
    inside = {
        f"edgeferry/{path.relative_to(folder).as_posix()}"
        for name in PACKAGES
        for path in (folder / name).rglob("*")
        if path.is_file()
    }
    return inside | {path.relative_to(folder).as_posix() for path in (folder / "edgeferry").rglob("*") if path.is_file()}


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(wheel: Path, checkout: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == _files(checkout)


def test_the_wheel_installs_nothing_outside_of_one_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top = {name.partition("/")[0] for name in archive.namelist()}
    assert {name.partition("-")[0] for name in top} == {"edgeferry"}
    assert len(top) == 2


def test_the_source_distribution_holds_every_file_of_the_packages(distributions: list[Path], checkout: Path) -> None:
    (sdist,) = (path for path in distributions if path.name.endswith(".tar.gz"))
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    expected = {
        path.relative_to(checkout).as_posix() for name in (*PACKAGES, "edgeferry") for path in (checkout / name).rglob("*.*")
    }
    assert {name for name in expected if (checkout / name).is_file()} <= names
    assert {"LICENSE", "README.md", "pyproject.toml"} <= names


def test_the_package_index_would_take_them(distributions: list[Path]) -> None:
    command = [sys.executable, "-m", "twine", "check", "--strict", *distributions]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("PASSED") == len(distributions) == 2
