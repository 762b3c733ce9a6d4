# SPDX-License-Identifier: Apache-2.0
"""The same jobs on a real Dask cluster of this machine, of which a worker is killed."""

import json
import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgeferry.benchmarks.fleet import cluster
from edgeferry.benchmarks.fleet.cluster import problems_here, refuse_undeclared, resource_of, run_on_dask
from edgeferry.benchmarks.fleet.merge import merged
from edgeferry.benchmarks.fleet.plan import Plan, PlannedTarget
from edgeferry.benchmarks.fleet.site import Site
from edgeferry.benchmarks.fleet.store import FolderStore
from edgeferry.benchmarks.fleet.untimed import untimed
from edgeferry.models.system.errors import EdgeError


@pytest.mark.parametrize(
    ("target", "resource"),
    [
        ("litert", ""),
        ("node-wasm", ""),
        ("coral-edgetpu", "coral"),
        ("coral-cpu", "coral"),
        ("coreml-all", "coreml"),
        ("onnxruntime-cuda", "gpu"),
        ("litert-gpu", "gpu"),
        ("endpoint", "endpoint"),
    ],
)
def test_what_there_is_one_of_is_leased(target: str, resource: str) -> None:
    assert resource_of(target) == resource


def test_a_resource_that_no_worker_declares_is_refused_before_a_job_waits_for_it() -> None:
    workers = {"tcp://a": {"resources": {}}, "tcp://b": {"resources": {"gpu": 1}}}
    refuse_undeclared(workers, "gpu")
    refuse_undeclared(workers, "")
    with pytest.raises(EdgeError, match="coral=1", check=lambda error: error.code == "EF-fleet-resource"):
        refuse_undeclared(workers, "coral")


def test_a_worker_says_what_it_has_in_another_version() -> None:
    targets = {"null": PlannedTarget({"python": "2.7"}, "0" * 64, None)}
    problem = problems_here(Plan(1, (), (), targets, ()), ("null",))["null"]
    assert problem is not None
    assert problem.code == "EF-fleet-versions"


def test_a_cluster_without_workers_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LOOK_S", "PATIENCE_S", "POLL_S"):
        monkeypatch.setattr(cluster, name, 0)
    workers: dict[str, object] = {"tcp://a": {}}
    waiting = SimpleNamespace(is_empty=lambda: False, has_ready=workers.clear)
    client = SimpleNamespace(scheduler=SimpleNamespace(address="tcp://b"), scheduler_info=lambda **_: {"workers": workers})
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-fleet-workers-lost"):
        next(cluster.completed(client, waiting))


def test_a_cluster_that_loses_a_worker_gives_the_report_of_one_machine(fleet: Any, tmp_path: Path) -> None:
    distributed = pytest.importorskip("distributed", reason="dask is not installed")
    killed: list[int] = []

    def kill_one(text: str, _number: int = 0, _total: int = 0) -> None:
        if text.startswith("ran ") and not killed:
            pids = distributed.default_client().run(os.getpid)
            killed.append(next(iter(pids.values())))
            os.kill(killed[0], signal.SIGKILL)

    shutil.copytree(fleet.folder / "digits", tmp_path / "digits")
    site = Site(fleet.plan, tmp_path, tmp_path, FolderStore(tmp_path / "cache"), kill_one)
    done = run_on_dask(site, range(1, fleet.plan.shards + 1), ())
    assert killed
    assert (done.kept, done.accidents) == (0, ())
    report = merged(replace(site, step=lambda *_: None), fleet.plan.models[0])
    assert json.dumps(untimed(report).as_json()) == json.dumps(untimed(fleet.alone).as_json())
    # All of it is kept: nothing is started.
    assert run_on_dask(site, (1, 2, 3), ()).kept == done.jobs
