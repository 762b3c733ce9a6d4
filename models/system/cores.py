# SPDX-License-Identifier: Apache-2.0
"""How many cores this process may use: the machine's, limited by its affinity and by a container's quota."""

import os
from pathlib import Path
from typing import Final

ROOT: Final = Path("/")


def cores_allowed(root: Path = ROOT) -> int:
    """Return how many cores may be used here, at least one; ``root`` is the folder that holds /sys."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min(cores, cpu_quota(root) or cores)))


def cpu_quota(root: Path = ROOT) -> float | None:
    """Return how many cores a container may use, or None where it may use all (control groups, versions 2 and 1)."""
    quota, _, period = (_text(root / "sys/fs/cgroup/cpu.max") or "max").partition(" ")
    if quota != "max":
        return int(quota) / int(period)
    old = root / "sys/fs/cgroup/cpu"
    allowed = int(_text(old / "cpu.cfs_quota_us") or -1)
    return None if allowed < 0 else allowed / int(_text(old / "cpu.cfs_period_us") or 100_000)


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
