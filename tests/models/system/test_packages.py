# SPDX-License-Identifier: Apache-2.0
from importlib.metadata import distributions
from pathlib import Path

import pytest

from edgeferry.models.system.packages import installed_version, versions_of

INSTALLED = {each.metadata["Name"]: each.version for each in distributions()}


@pytest.mark.parametrize("name", INSTALLED)
def test_the_version_is_that_of_the_package_s_own_metadata(name: str) -> None:
    assert installed_version(name) == INSTALLED[name]


def test_a_name_may_be_written_in_any_of_its_forms(tmp_path: Path) -> None:
    (tmp_path / "AI_edge.litert-2.3.0+cpu.dist-info").mkdir()
    (tmp_path / "tflite_runtime-2.5.0.post1-py3.7.egg-info").mkdir()
    found = versions_of("ai-edge-litert", "tflite-runtime", "none", below=tmp_path)
    assert found == {"ai-edge-litert": "2.3.0+cpu", "tflite-runtime": "2.5.0.post1"}


def test_what_is_not_installed_has_no_version(tmp_path: Path) -> None:
    assert installed_version("no-such-package") is None
    assert versions_of("numpy", below=tmp_path / "absent") == {}
