# SPDX-License-Identifier: Apache-2.0
"""The examples for GitHub Actions, Kubernetes and Slurm: each one's own shell lines run every shard exactly once."""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import typer
import yaml

from edgeferry.commands.app import app
from edgeferry.models.system.places import ROOT

FLEET: Final = ROOT / "docs" / "fleet"
GITHUB: Final[dict[str, Any]] = yaml.safe_load((FLEET / "github.yaml").read_text(encoding="utf-8"))
KUBERNETES: Final[dict[str, Any]] = yaml.safe_load((FLEET / "kubernetes.yaml").read_text(encoding="utf-8"))
EXPRESSION: Final = re.compile(r"\$\{\{ ([\w.-]+) \}\}")


@pytest.fixture
def commands_of(tmp_path: Path) -> Any:
    """Return what runs a script with programs that only write down how they are called, and returns those calls."""
    for name in ("edgeferry", "pip"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\nprintf "%s\\n" "{name} $*" >>"$CALLS"\n', encoding="utf-8")
        program.chmod(0o755)

    def commands(script: str, environment: Mapping[str, str]) -> list[str]:
        calls = tmp_path / "calls"
        calls.write_text("", encoding="utf-8")
        path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
        given = {**os.environ, **environment, "PATH": path, "CALLS": str(calls)}
        subprocess.run(["/bin/sh", "-ec", script], cwd=tmp_path, env=given, check=True)
        return [line for line in calls.read_text(encoding="utf-8").splitlines() if line.startswith("edgeferry ")]

    return commands


def parsed(line: str) -> dict[str, Any]:
    """Return what the program makes of a call, without running it."""
    group: Any = typer.main.get_command(app)
    _, name, *words = shlex.split(line)
    found: dict[str, Any] = group.commands[name].make_context(name, words).params
    return found


def filled(text: str, values: Mapping[str, object]) -> str:
    return EXPRESSION.sub(lambda found: str(values[found[1]]), text)


def every_shard(total: int) -> list[str]:
    return [f"{number}/{total}" for number in range(1, total + 1)]


def test_github_runs_every_shard_of_its_plan_once(commands_of: Any) -> None:
    jobs = GITHUB["jobs"]
    scripts = {name: "\n".join(step["run"] for step in job["steps"] if "run" in step) for name, job in jobs.items()}
    (planned,) = map(parsed, commands_of(scripts["plan"], {}))
    matrix = jobs["run"]["strategy"]["matrix"]["shard"]
    assert planned["shards"] == len(matrix)
    done = [
        parsed(line)["shard"]
        for each in matrix
        for line in commands_of(filled(scripts["run"], {"matrix.shard": each, "strategy.job-total": len(matrix)}), {})
    ]
    assert done == every_shard(len(matrix))
    (merge,) = map(parsed, commands_of(scripts["merge"], {}))
    assert merge["cache"] == jobs["merge"]["steps"][4]["with"]["path"]
    assert jobs["merge"]["needs"] == "run"
    assert jobs["run"]["needs"] == "plan"


def test_kubernetes_runs_every_shard_once(commands_of: Any) -> None:
    job = KUBERNETES["spec"]
    assert (KUBERNETES["apiVersion"], KUBERNETES["kind"], job["completionMode"]) == ("batch/v1", "Job", "Indexed")
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["sh", "-ec"]
    (script,) = container["args"]
    done = [
        parsed(line) for index in range(job["completions"]) for line in commands_of(script, {"JOB_COMPLETION_INDEX": str(index)})
    ]
    assert [each["shard"] for each in done] == every_shard(job["completions"])
    mounted = container["volumeMounts"][0]["mountPath"]
    assert {str(each["path"]).startswith(mounted) and each["cache"].startswith(mounted) for each in done} == {True}
    assert {each["name"] for each in container["volumeMounts"]} == {each["name"] for each in pod["volumes"]}


def test_slurm_runs_every_shard_once(commands_of: Any) -> None:
    script = (FLEET / "slurm.sh").read_text(encoding="utf-8")
    options = dict(
        line.removeprefix("#SBATCH --").split("=", 1) for line in script.splitlines() if "#SBATCH" in line and "=" in line
    )
    first, last = map(int, options["array"].split("-"))
    total = last - first + 1
    done = [
        parsed(line)["shard"]
        for number in range(first, last + 1)
        for line in commands_of(script, {"SLURM_ARRAY_TASK_ID": str(number), "SLURM_ARRAY_TASK_COUNT": str(total)})
    ]
    assert done == every_shard(total)
