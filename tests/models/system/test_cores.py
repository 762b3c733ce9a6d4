# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path

import pytest

from edgeferry.models.system.cores import cores_allowed, cpu_quota


def _quota(root: Path, limit: str) -> Path:
    file = root / "sys/fs/cgroup/cpu.max"
    file.parent.mkdir(parents=True)
    file.write_text(limit + "\n")
    return root


def test_without_a_quota_the_cores_of_this_process_count(tmp_path: Path) -> None:
    assert cpu_quota(tmp_path) is None
    assert 1 <= cores_allowed(tmp_path) <= (os.cpu_count() or 1)


def test_a_quota_of_less_than_a_core_leaves_one(tmp_path: Path) -> None:
    assert cpu_quota(_quota(tmp_path, "50000 100000")) == 0.5
    assert cores_allowed(tmp_path) == 1


def test_no_more_than_the_quota_are_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(16)), raising=False)
    assert cores_allowed(_quota(tmp_path, "250000 100000")) == 2
    assert cores_allowed(tmp_path / "none") == 16


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_a_process_bound_to_one_core_may_use_one(tmp_path: Path) -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert cores_allowed(tmp_path) == 1
    finally:
        os.sched_setaffinity(0, before)
