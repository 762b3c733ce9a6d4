# SPDX-License-Identifier: Apache-2.0
"""NVIDIA GPUs as their driver tells of them: which one this process computes on, what it holds there, energy, heat, others' work.

By NVML (docs.nvidia.com/deploy/nvml-api). What a driver or a GPU does not tell is None; where there is no driver, all of it is.
"""

import os
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from typing import Any, Final

# nvmlPerfPolicyType_t: the driver counts for how long a GPU clocked itself down, at its limit of power or of heat.
BY_POWER: Final = 0
BY_HEAT: Final = 1
# nvmlTemperatureSensors_t: the chip's own.
CHIP: Final = 0
# nvmlClockType_t: that of the multiprocessors, which compute.
COMPUTING: Final = 1


@dataclass(frozen=True)
class Health:
    """A moment of all GPUs of a machine together.

    The highest temperature in degrees Celsius, the highest share of the last moments in which one was at work, and the seconds,
    since the driver was loaded, in which one was slowed down by heat or by its limit of power.
    """

    temperature_c: float | None = None
    busy: float | None = None
    slowed_s: float | None = None


def names() -> tuple[str, ...]:
    """Return the names of this machine's GPUs."""
    return tuple(str(name) for gpu in _gpus() if (name := _told("nvmlDeviceGetName", gpu)))


def environment() -> dict[str, str]:
    """Return how a run's environment names the GPU that this process computes on, and its driver; nothing where none is known."""
    gpu = _ours()
    if gpu is None:
        return {}
    facts = {"gpu": _told("nvmlDeviceGetName", gpu), "driver": _told("nvmlSystemGetDriverVersion")}
    return {key: str(fact) for key, fact in facts.items() if fact}


def held_bytes() -> int | None:
    """Return how much memory this process holds on its GPU: the runtime's context, weights and working memory."""
    # Of a GPU that virtual machines share, the driver tells the process and not what it holds.
    held = [process.usedGpuMemory for gpu in _gpus() for process in _own_processes(gpu) if process.usedGpuMemory is not None]
    return max(held, default=None)


def joules() -> float | None:
    """Return what the GPU that this process computes on has used since its driver was loaded, in joules, by its own counter."""
    millijoules = _of_ours("nvmlDeviceGetTotalEnergyConsumption")
    return None if millijoules is None else millijoules / 1000


def clock_mhz() -> int | None:
    """Return the clock at this moment of the GPU that this process computes on."""
    return _of_ours("nvmlDeviceGetClockInfo", COMPUTING)


def most_clock_mhz() -> int | None:
    """Return the highest clock of the GPU that this process computes on."""
    return _of_ours("nvmlDeviceGetMaxClockInfo", COMPUTING)


def health() -> Health:
    """Return the state that this machine's GPUs are in."""
    gpus = _gpus()
    temperatures = [_told("nvmlDeviceGetTemperature", gpu, CHIP) for gpu in gpus]
    rates = [_told("nvmlDeviceGetUtilizationRates", gpu) for gpu in gpus]
    slowed = [_told("nvmlDeviceGetViolationStatus", gpu, by) for gpu in gpus for by in (BY_POWER, BY_HEAT)]
    slowed_ns = [each.violationTime for each in slowed if each is not None]
    return Health(
        temperature_c=max((float(each) for each in temperatures if each is not None), default=None),
        busy=max((each.gpu / 100 for each in rates if each is not None), default=None),
        slowed_s=sum(slowed_ns) / 1e9 if slowed_ns else None,
    )


@cache
def _nvml() -> Any | None:
    """Return NVML, or None where no NVIDIA driver is."""
    if find_spec("pynvml") is None:
        return None
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return pynvml


def _told(function: str, *arguments: Any) -> Any | None:
    """Return what one of NVML's functions answers, or None where there is no driver or it does not tell."""
    nvml = _nvml()
    if nvml is None:
        return None
    try:
        return getattr(nvml, function)(*arguments)
    except nvml.NVMLError:
        return None


def _of_ours(function: str, *arguments: Any) -> int | None:
    """Return a number that the driver tells of the GPU that this process computes on."""
    gpu = _ours()
    number = None if gpu is None else _told(function, gpu, *arguments)
    return None if number is None else int(number)


def _gpus() -> list[Any]:
    found = [_told("nvmlDeviceGetHandleByIndex", at) for at in range(_told("nvmlDeviceGetCount") or 0)]
    return [gpu for gpu in found if gpu is not None]


def _ours() -> Any | None:
    """Return the GPU that this process computes on; where the driver does not know it, as in a container, the only one."""
    gpus = _gpus()
    found = [gpu for gpu in gpus if _own_processes(gpu)] or gpus
    return found[0] if len(found) == 1 else None


def _own_processes(gpu: Any) -> list[Any]:
    """Return what a GPU's driver tells of this process, as one that computes, by CUDA, and as one that draws, by Vulkan."""
    told = [_told(f"nvmlDeviceGet{kind}RunningProcesses", gpu) or [] for kind in ("Compute", "Graphics")]
    return [process for processes in told for process in processes if process.pid == os.getpid()]
