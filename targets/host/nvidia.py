# SPDX-License-Identifier: Apache-2.0
"""NVIDIA GPUs as their driver reports them: which one this process computes on, its memory there, energy, heat, other work.

By NVML (docs.nvidia.com/deploy/nvml-api). A value that a driver or a GPU does not report is None; without a driver, all are.
"""

import os
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

# nvmlPerfPolicyType_t: the driver counts how long a GPU reduced its clock, at its limit of power or of heat.
BY_POWER: Final = 0
BY_HEAT: Final = 1
# nvmlTemperatureSensors_t: the sensor on the chip.
CHIP: Final = 0
# nvmlClockType_t: the clock of the multiprocessors, which compute.
COMPUTING: Final = 1


@dataclass(frozen=True)
class Health:
    """The state of all GPUs of a machine at one moment.

    The highest temperature in degrees Celsius, the highest utilization (0 to 1), and the seconds, since the driver was loaded,
    in which one was slowed down by heat or by its limit of power.
    """

    temperature_c: float | None = None
    busy: float | None = None
    slowed_s: float | None = None


def names() -> tuple[str, ...]:
    """Return the names of this machine's GPUs."""
    return tuple(str(name) for gpu in _gpus() if (name := _value("nvmlDeviceGetName", gpu)))


def environment() -> dict[str, str]:
    """Return the GPU that this process computes on and its driver, for a run's environment; empty where none is known."""
    gpu = _ours()
    if gpu is None:
        return {}
    facts = {"gpu": _value("nvmlDeviceGetName", gpu), "driver": _value("nvmlSystemGetDriverVersion")}
    return {key: str(fact) for key, fact in facts.items() if fact}


def held_bytes() -> int | None:
    """Return how many bytes this process holds on its GPU: the runtime's context, weights and working memory."""
    # For a GPU that virtual machines share, the driver lists the process but not its memory.
    held = [process.usedGpuMemory for gpu in _gpus() for process in _own_processes(gpu) if process.usedGpuMemory is not None]
    return max(held, default=None)


def joules() -> float | None:
    """Return the joules that the GPU of this process has used since its driver was loaded, by its own counter."""
    millijoules = _of_ours("nvmlDeviceGetTotalEnergyConsumption")
    return None if millijoules is None else millijoules / 1000


def clock_mhz() -> int | None:
    """Return the present clock of the GPU that this process computes on."""
    return _of_ours("nvmlDeviceGetClockInfo", COMPUTING)


def most_clock_mhz() -> int | None:
    """Return the highest clock of the GPU that this process computes on."""
    return _of_ours("nvmlDeviceGetMaxClockInfo", COMPUTING)


def health() -> Health:
    """Return the present state of this machine's GPUs."""
    gpus = _gpus()
    temperatures = [_value("nvmlDeviceGetTemperature", gpu, CHIP) for gpu in gpus]
    rates = [_value("nvmlDeviceGetUtilizationRates", gpu) for gpu in gpus]
    slowed = [_value("nvmlDeviceGetViolationStatus", gpu, by) for gpu in gpus for by in (BY_POWER, BY_HEAT)]
    slowed_ns = [each.violationTime for each in slowed if each is not None]
    return Health(
        temperature_c=max((float(each) for each in temperatures if each is not None), default=None),
        busy=max((each.gpu / 100 for each in rates if each is not None), default=None),
        slowed_s=sum(slowed_ns) / 1e9 if slowed_ns else None,
    )


@cache
def _nvml() -> Any | None:
    """Return NVML, or None where there is no NVIDIA driver."""
    if find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _value(function: str, *arguments: Any) -> Any | None:
    """Return the result of one of NVML's functions, or None where there is no driver or it does not report the value."""
    nvml = _nvml()
    if nvml is None:
        return None
    try:
        return getattr(nvml, function)(*arguments)
    except nvml.NVMLError:
        return None


def _of_ours(function: str, *arguments: Any) -> int | None:
    """Return a number that the driver reports of the GPU that this process computes on."""
    gpu = _ours()
    number = None if gpu is None else _value(function, gpu, *arguments)
    return None if number is None else int(number)


def _gpus() -> list[Any]:
    found = [_value("nvmlDeviceGetHandleByIndex", at) for at in range(_value("nvmlDeviceGetCount") or 0)]
    return [gpu for gpu in found if gpu is not None]


def _ours() -> Any | None:
    """Return the GPU that this process computes on; where the driver does not list it, as in a container, the only one."""
    gpus = _gpus()
    found = [gpu for gpu in gpus if _own_processes(gpu)] or gpus
    return found[0] if len(found) == 1 else None


def _own_processes(gpu: Any) -> list[Any]:
    """Return the driver's records of this process on a GPU: as one that computes, by CUDA, and as one that draws, by Vulkan."""
    listed = [_value(f"nvmlDeviceGet{kind}RunningProcesses", gpu) or [] for kind in ("Compute", "Graphics")]
    return [process for processes in listed for process in processes if process.pid == os.getpid()]
