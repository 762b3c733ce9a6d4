# SPDX-License-Identifier: Apache-2.0
"""The action for GitHub Actions: its shell steps, run as they stand in a repository of somebody else's."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from edgeferry.models.bundle.content import write_bundle
from edgeferry.models.system.places import ROOT

pytestmark = pytest.mark.slow

ACTION: Final = yaml.safe_load((ROOT / "action.yml").read_text(encoding="utf-8"))
EXPRESSION: Final = re.compile(r"\$\{\{ (inputs|steps\.check\.outputs)\.(\w+) \}\}")
Job = Callable[..., int]


@pytest.fixture
def job(wheel: Path, exported_digits: Any, tmp_path: Path) -> Job:
    """Return ``job(**inputs)``: the status of the action in a repository that has a package ``models`` of its own."""
    repository = tmp_path / "repository"
    (repository / "models").mkdir(parents=True)
    (repository / "models" / "__init__.py").write_text("raise RuntimeError('this is not edgeferry')\n", encoding="utf-8")
    write_bundle(exported_digits.build, ["tflite-float32"], repository / "my.bundle")
    site = tmp_path / "site"
    # What the runner's pip would fetch is next to the tests already.
    pip = {"PIP_TARGET": str(site), "PIP_NO_DEPS": "1", "PIP_NO_INDEX": "1"}
    github = {
        "GITHUB_ACTIONS": "true",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
    }
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **pip, **github, "PATH": path, "PYTHONPATH": str(site)}

    def run(**inputs: str) -> int:
        values = {name: each.get("default", "") for name, each in ACTION["inputs"].items()}
        values |= {"source": str(wheel), "build": "my.bundle", "targets": "litert", **inputs}
        outputs: dict[str, str] = {}
        for step in ACTION["runs"]["steps"]:
            if "run" not in step:
                continue
            assert step["shell"] == "bash"
            given = {
                name: _filled(text, {"inputs": values, "steps.check.outputs": outputs}) for name, text in step["env"].items()
            }
            command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
            done = subprocess.run(command, cwd=repository, env=environment | given, timeout=300, check=False)
            if done.returncode:
                return done.returncode
            if (tmp_path / "output").exists():
                outputs |= dict(line.split("=", 1) for line in (tmp_path / "output").read_text(encoding="utf-8").splitlines())
        return 0

    return run


def _filled(text: str, values: Mapping[str, Mapping[str, str]]) -> str:
    filled = EXPRESSION.sub(lambda found: values[found[1]][found[2]], text)
    assert "${{" not in filled, text
    return filled


def test_the_action_checks_a_bundle_and_writes_the_report(job: Job, tmp_path: Path) -> None:
    assert job(require="tflite-float32\ntflite-float32@litert\n") == 0
    report = tmp_path / "repository" / "edgeferry-report"
    assert (report / "junit.xml").is_file()
    assert (report / "summary.md").is_file()
    assert len(list(report.glob("digits-*/report.html"))) == 1
    assert "parity held" in (tmp_path / "summary").read_text(encoding="utf-8")


def test_the_action_fails_where_what_is_required_was_not_checked(job: Job) -> None:
    assert job(require="onnx-float32") == 1


def test_every_action_that_it_uses_has_a_version_and_the_report_is_uploaded_always() -> None:
    uses = [step["uses"] for step in ACTION["runs"]["steps"] if "uses" in step]
    assert all(re.fullmatch(r"actions/[a-z-]+@v\d+", each) for each in uses)
    upload = next(step for step in ACTION["runs"]["steps"] if step.get("uses", "").startswith("actions/upload-artifact"))
    assert upload["if"] == "always()"
