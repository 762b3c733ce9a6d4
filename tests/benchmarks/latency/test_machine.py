# SPDX-License-Identifier: Apache-2.0
import os
from pathlib import Path
from typing import Final

from edgeferry.benchmarks.latency.machine import machine, state

CPU: Final = "sys/devices/system/cpu"


def _written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    return root


def test_this_machine_has_properties() -> None:
    found = machine()
    assert found["cores"] == os.cpu_count()
    assert found["memory_bytes"] > 2**28
    assert found["processor"]


def test_what_a_machine_does_not_report_is_none(tmp_path: Path) -> None:
    found, now = machine(tmp_path), state(tmp_path)
    assert {found[name] for name in ("governor", "turbo", "virtual", "cpu_quota")} == {None}
    assert now.throttled is None


def test_a_laptop_is_described(tmp_path: Path) -> None:
    files = {
        "proc/cpuinfo": "processor : 0\nmodel name\t: Some Core i7\nflags\t\t: fpu vme sse2",
        f"{CPU}/cpu0/cpufreq/scaling_governor": "powersave",
        f"{CPU}/intel_pstate/no_turbo": "0",
        f"{CPU}/cpu0/thermal_throttle/core_throttle_count": "3",
        f"{CPU}/cpu1/thermal_throttle/core_throttle_count": "4",
        "sys/fs/cgroup/cpu.max": "150000 100000",
    }
    root = _written(tmp_path, files)
    found, now = machine(root), state(root)
    assert (found["processor"], found["governor"], found["turbo"], found["virtual"]) == ("Some Core i7", "powersave", True, False)
    assert found["cpu_quota"] == 1.5
    assert now.throttled == 7


def test_a_virtual_machine_and_a_container_without_a_quota_are_described(tmp_path: Path) -> None:
    root = _written(tmp_path, {"proc/cpuinfo": "flags\t: fpu hypervisor", "sys/fs/cgroup/cpu.max": "max 100000"})
    assert machine(root)["virtual"] is True
    assert machine(root)["cpu_quota"] is None


def test_a_control_group_of_version_1_is_read(tmp_path: Path) -> None:
    below = "sys/fs/cgroup/cpu"
    root = _written(tmp_path, {f"{below}/cpu.cfs_quota_us": "50000", f"{below}/cpu.cfs_period_us": "100000"})
    assert machine(root)["cpu_quota"] == 0.5


def test_time_goes_on_between_two_states() -> None:
    before = state()
    sum(range(2_000_000))
    after = state()
    assert after.time_s >= before.time_s
    assert after.busy_s + after.idle_s >= before.busy_s + before.idle_s > 0
