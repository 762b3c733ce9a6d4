# SPDX-License-Identifier: Apache-2.0
"""The machine that is measured on: what it is, and its state before and after a run. What it does not report is None."""

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from edgeferry.models.system.cores import ROOT, cpu_quota
from edgeferry.targets.host import nvidia
from edgeferry.targets.host.nvidia import Health

# Times of machines that differ in one of these are not comparable.
DECISIVE: Final = (
    "system",
    "architecture",
    "processor",
    "cores",
    "physical_cores",
    "governor",
    "turbo",
    "virtual",
    "cpu_quota",
)


@dataclass(frozen=True)
class State:
    """A machine at one moment: seconds since boot by what its cores did, and its health.

    ``stolen_s`` is the time a hypervisor gave to others while there was work; ``throttled`` counts throttling events; the
    temperature is the highest of all sensors, in degrees Celsius; ``gpu`` is the health of the machine's NVIDIA GPUs.
    """

    time_s: float
    load: float
    busy_s: float
    idle_s: float
    stolen_s: float | None
    frequency_mhz: float | None
    temperature_c: float | None
    throttled: int | None
    on_battery: bool | None
    gpu: Health = field(default_factory=Health)

    def as_json(self) -> dict[str, Any]:
        """Return what latency.json holds."""
        return asdict(self)


def machine(root: Path = ROOT) -> dict[str, Any]:
    """Return the properties of this machine; ``root`` is where /proc and /sys are."""
    import psutil

    return {
        "system": platform.system(),
        "kernel": platform.release(),
        "processor": _processor(root),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "physical_cores": psutil.cpu_count(logical=False),
        "memory_bytes": psutil.virtual_memory().total,
        "governor": read_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "turbo": _turbo(root),
        "virtual": _virtual(root),
        "cpu_quota": cpu_quota(root),
        "gpus": ", ".join(nvidia.names()) or None,
        "python": platform.python_version(),
    }


def state(root: Path = ROOT) -> State:
    """Return the state that this machine is in."""
    import psutil

    times, battery = psutil.cpu_times(), psutil.sensors_battery() if hasattr(psutil, "sensors_battery") else None
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    return State(
        time_s=time.time(),
        load=psutil.getloadavg()[0],
        busy_s=sum(times) - idle_s - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0),
        idle_s=idle_s,
        stolen_s=getattr(times, "steal", None),
        frequency_mhz=_frequency_mhz(),
        temperature_c=_temperature_c(),
        throttled=_sum_of(root, "sys/devices/system/cpu/cpu*/thermal_throttle/core_throttle_count"),
        on_battery=None if battery is None else not battery.power_plugged,
        gpu=nvidia.health(),
    )


def what_differs(one: Mapping[str, Any], other: Mapping[str, Any]) -> str:
    """Return the properties that latencies depend on and in which two machines differ, as text, or ''."""
    found = [f"{name} ({one.get(name)}, {other.get(name)})" for name in DECISIVE if one.get(name) != other.get(name)]
    return ", ".join(found)


def _processor(root: Path) -> str | None:
    lines = (read_text(root / "proc/cpuinfo") or "").splitlines()
    # x86 and some Arm kernels; others list parts only.
    for key in ("model name", "Model", "Hardware"):
        for line in lines:
            name, _, value = line.partition(":")
            if name.strip() == key:
                return value.strip()
    return platform.processor() or None


def _turbo(root: Path) -> bool | None:
    below = root / "sys/devices/system/cpu"
    if (boost := read_text(below / "cpufreq/boost")) is not None:
        return boost == "1"
    no_turbo = read_text(below / "intel_pstate/no_turbo")
    return None if no_turbo is None else no_turbo == "0"


def _virtual(root: Path) -> bool | None:
    flags = [line for line in (read_text(root / "proc/cpuinfo") or "").splitlines() if line.startswith("flags")]
    return "hypervisor" in flags[0].split() if flags else None


def _frequency_mhz() -> float | None:
    import psutil

    # A virtual machine reports its nominal frequency, and some systems none.
    try:
        frequency = psutil.cpu_freq()
    except (OSError, RuntimeError, NotImplementedError):
        return None
    return float(frequency.current) if frequency else None


def _temperature_c() -> float | None:
    import psutil

    sensors = psutil.sensors_temperatures() if hasattr(psutil, "sensors_temperatures") else {}
    return max((each.current for found in sensors.values() for each in found if each.current is not None), default=None)


def _sum_of(root: Path, pattern: str) -> int | None:
    numbers = [int(text) for text in map(read_text, root.glob(pattern)) if text and text.isdigit()]
    return sum(numbers) if numbers else None


def read_text(path: Path) -> str | None:
    """Return a file's text without surrounding white space, or None where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
