# SPDX-License-Identifier: Apache-2.0
"""An environment that has one package in another version, and everything else from the one that runs the tests."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeferry.benchmarks.diff.upgrade import Upgrade, environment_with, upgrade_of
from edgeferry.models.system.errors import EdgeError


@pytest.mark.parametrize("text", ["coremltools", "=1", "coremltools=", "--index-url=x", "a b=1", "coremltools>=9", "x=1; rm"])
def test_what_is_no_package_with_its_version_is_refused(text: str) -> None:
    with pytest.raises(EdgeError) as error:
        upgrade_of(text)
    assert error.value.code == "EF-upgrade"


def test_a_package_and_its_version_are_read() -> None:
    assert upgrade_of("coremltools=8.3.0") == upgrade_of("coremltools==8.3.0") == Upgrade("coremltools", "8.3.0")
    assert upgrade_of("tensorflow=2.22").package == ("tensorflow-cpu" if sys.platform == "linux" else "tensorflow")


def wheel(folder: Path, name: str, version: str) -> None:
    """Write a wheel with one module that knows its version."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as archive:
        for each, text in files.items():
            archive.writestr(each, text)
        archive.writestr(f"{info}/RECORD", "".join(f"{each},,\n" for each in [*files, f"{info}/RECORD"]))


def test_an_environment_has_the_upgrade_and_everything_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(tmp_path, "typer", "99.0")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    python = environment_with(Upgrade("typer", "99.0"), tmp_path / "environments", lambda *_: None)
    code = (
        "import typer, numpy; from importlib.metadata import version; print(typer.VERSION, version('typer'), numpy.__version__)"
    )
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    import numpy as np

    assert done.stdout.split() == ["99.0", "99.0", np.__version__]
    with pytest.raises(EdgeError) as error:
        environment_with(Upgrade("typer", "98.0"), tmp_path / "environments", lambda *_: None)
    assert error.value.code == "EF-upgrade"
    assert not (tmp_path / "environments" / "typer-98.0").exists()
