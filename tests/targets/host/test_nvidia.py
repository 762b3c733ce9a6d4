# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802, ARG001, ARG002 - the stand-in has NVML's own names and signatures
"""What the driver of NVIDIA GPUs tells; where none is, a stand-in for its library answers as its documentation has it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from edgeferry.models.system.child import Child
from edgeferry.targets.host import installed, nvidia
from edgeferry.targets.host.nvidia import Health
from edgeferry.targets.target import Job, Run, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

needs_gpu = [
    pytest.mark.gpu,
    pytest.mark.skipif(not installed.CUDA_DEVICE.exists(), reason="needs an NVIDIA GPU and its driver"),
]


class RefusedError(Exception):
    """The stand-in for NVML's own error."""


class NvmlStandIn:
    """NVML with GPUs that are named, each with processes, a counter of energy and a state."""

    NVMLError = RefusedError

    def __init__(self, *names: str, ours: tuple[str, ...] = (), refuses: tuple[str, ...] = ()) -> None:
        self.names, self.ours, self.refuses = names, ours, refuses

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("nvml") and name in self.refuses:
            return _refuse
        return object.__getattribute__(self, name)

    def nvmlDeviceGetCount(self) -> int:
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, at: int) -> str:
        return self.names[at]

    def nvmlDeviceGetName(self, gpu: str) -> str:
        return gpu

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.1"

    def nvmlDeviceGetComputeRunningProcesses(self, gpu: str) -> list[Any]:
        others = SimpleNamespace(pid=os.getpid() + 1, usedGpuMemory=7)
        return [others, *([SimpleNamespace(pid=os.getpid(), usedGpuMemory=500)] if gpu in self.ours else [])]

    def nvmlDeviceGetGraphicsRunningProcesses(self, gpu: str) -> list[Any]:
        return [SimpleNamespace(pid=os.getpid(), usedGpuMemory=None)] if gpu in self.ours else []

    def nvmlDeviceGetTotalEnergyConsumption(self, gpu: str) -> int:
        return 1000 * (1 + self.names.index(gpu))

    def nvmlDeviceGetClockInfo(self, gpu: str, kind: int) -> int:
        return 345

    def nvmlDeviceGetMaxClockInfo(self, gpu: str, kind: int) -> int:
        return 1980

    def nvmlDeviceGetTemperature(self, gpu: str, sensor: int) -> int:
        return 40 + 10 * self.names.index(gpu)

    def nvmlDeviceGetUtilizationRates(self, gpu: str) -> Any:
        return SimpleNamespace(gpu=25 * self.names.index(gpu))

    def nvmlDeviceGetViolationStatus(self, gpu: str, by: int) -> Any:
        return SimpleNamespace(violationTime=500_000_000)


def _refuse(*arguments: Any) -> None:
    raise RefusedError


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a stand-in in NVML's place, with GPUs so named, or nothing at all."""

    def put(*names: str, **how: Any) -> None:
        monkeypatch.setattr(nvidia, "_nvml", lambda: NvmlStandIn(*names, **how) if names else None)

    return put


def test_without_a_driver_nothing_is_told(stand_in: Callable[..., None]) -> None:
    stand_in()
    assert (nvidia.names(), nvidia.environment(), nvidia.held_bytes(), nvidia.joules()) == ((), {}, None, None)
    assert nvidia.health() == Health()


@pytest.mark.skipif(installed.CUDA_DEVICE.exists(), reason="there is an NVIDIA GPU here")
def test_a_machine_without_a_gpu_has_no_driver() -> None:
    nvidia._nvml.cache_clear()
    assert nvidia.names() == ()


def test_the_gpu_that_this_process_computes_on_is_told(stand_in: Callable[..., None]) -> None:
    stand_in("one", "other", ours=("other",))
    assert nvidia.environment() == {"gpu": "other", "driver": "580.1"}
    assert nvidia.joules() == 2.0
    assert nvidia.held_bytes() == 500
    assert (nvidia.clock_mhz(), nvidia.most_clock_mhz()) == (345, 1980)


def test_which_of_two_it_is_is_not_guessed(stand_in: Callable[..., None]) -> None:
    stand_in("one", "other")
    assert nvidia.environment() == {}
    assert nvidia.joules() is None


def test_the_only_gpu_counts_where_the_driver_does_not_know_the_process(stand_in: Callable[..., None]) -> None:
    stand_in("one")
    assert nvidia.environment()["gpu"] == "one"
    assert nvidia.held_bytes() is None


def test_what_a_driver_refuses_is_not_told(stand_in: Callable[..., None]) -> None:
    stand_in(
        "one", refuses=("nvmlDeviceGetTotalEnergyConsumption", "nvmlDeviceGetUtilizationRates", "nvmlDeviceGetViolationStatus")
    )
    assert nvidia.joules() is None
    assert nvidia.health() == Health(temperature_c=40)


def test_the_state_is_that_of_all_gpus(stand_in: Callable[..., None]) -> None:
    stand_in("one", "other")
    assert nvidia.health() == Health(temperature_c=50, busy=0.25, slowed_s=2.0)


@pytest.fixture
def on_gpu(build: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], Run]]:
    """Return ``on_gpu(target, format)``: a run of a process that may see the GPU, or a skip that says why there is none."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with Child() as child:

        def run(name: str, form: str) -> Run:
            if why := targets()[name].missing():
                pytest.skip(why)
            job = Job(build / form, build / "reference" / "pixels.npy", tmp_path)
            found: Run = child.call(targets()[name].run, job, log=tmp_path / "log")
            return found

        yield run


class TestOnAGpu:
    pytestmark = needs_gpu

    def test_the_driver_names_it_and_counts_what_it_draws(self) -> None:
        nvidia._nvml.cache_clear()
        assert all("NVIDIA" in name for name in nvidia.names())
        assert len(nvidia.names()) >= 1
        health = nvidia.health()
        assert health.temperature_c is not None
        assert 5 < health.temperature_c < 110

    def test_cuda_answers_as_the_original(self, on_gpu: Callable[[str, str], Run], scores: "NDArray[np.float32]") -> None:
        found = on_gpu("onnxruntime-cuda", "onnx-float32")
        assert abs(found.scores - scores).max() < 1e-5
        assert found.environment["provider"] == "CUDAExecutionProvider"
        assert found.environment["delegated_nodes"] == found.environment["nodes"]
        assert found.environment["gpu"] in nvidia.names()
        assert found.environment["runtime"] == "onnxruntime-gpu"

    def test_litert_answers_as_the_original(self, on_gpu: Callable[[str, str], Run], scores: "NDArray[np.float32]") -> None:
        found = on_gpu("litert-gpu", "tflite-float32")
        assert not found.environment["software_gpu"]
        assert abs(found.scores - scores).max() < 1e-4
