# SPDX-License-Identifier: Apache-2.0
# ruff: noqa: N802, ARG001, ARG002 - the stand-in has NVML's own names and signatures
"""What the driver of NVIDIA GPUs reports; without one, a stand-in for its library returns what its documentation specifies."""

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


class NvmlRefusalError(Exception):
    """The stand-in for NVML's own error."""


class NvmlStandIn:
    """NVML with named GPUs, each with processes, an energy counter and a state."""

    NVMLError = NvmlRefusalError

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
    raise NvmlRefusalError


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Replace NVML by a stand-in with GPUs of these names, or by nothing."""

    def put(*names: str, **how: Any) -> None:
        monkeypatch.setattr(nvidia, "_nvml", lambda: NvmlStandIn(*names, **how) if names else None)

    return put


def test_without_a_driver_nothing_is_known(stand_in: Callable[..., None]) -> None:
    stand_in()
    assert (nvidia.names(), nvidia.environment(), nvidia.held_bytes(), nvidia.joules()) == ((), {}, None, None)
    assert nvidia.health() == Health()


@pytest.mark.skipif(installed.CUDA_DEVICE.exists(), reason="there is an NVIDIA GPU here")
def test_a_machine_without_a_gpu_has_no_driver() -> None:
    nvidia._nvml.cache_clear()
    assert nvidia.names() == ()


def test_the_gpu_that_this_process_computes_on_is_found(stand_in: Callable[..., None]) -> None:
    stand_in("one", "other", ours=("other",))
    assert nvidia.environment() == {"gpu": "other", "driver": "580.1"}
    assert nvidia.joules() == 2.0
    assert nvidia.held_bytes() == 500
    assert (nvidia.clock_mhz(), nvidia.most_clock_mhz()) == (345, 1980)


def test_one_of_two_gpus_is_not_guessed(stand_in: Callable[..., None]) -> None:
    stand_in("one", "other")
    assert nvidia.environment() == {}
    assert nvidia.joules() is None


def test_the_only_gpu_counts_where_the_driver_does_not_list_the_process(stand_in: Callable[..., None]) -> None:
    stand_in("one")
    assert nvidia.environment()["gpu"] == "one"
    assert nvidia.held_bytes() is None


def test_values_that_a_driver_refuses_are_none(stand_in: Callable[..., None]) -> None:
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

    def test_the_driver_names_it_and_reports_its_temperature(self) -> None:
        nvidia._nvml.cache_clear()
        assert all("NVIDIA" in name for name in nvidia.names())
        assert len(nvidia.names()) >= 1
        health = nvidia.health()
        assert health.temperature_c is not None
        assert 5 < health.temperature_c < 110

    def test_cuda_predicts_like_the_keras_model(self, on_gpu: Callable[[str, str], Run], scores: "NDArray[np.float32]") -> None:
        found = on_gpu("onnxruntime-cuda", "onnx-float32")
        assert abs(found.scores - scores).max() < 1e-5
        assert found.environment["provider"] == "CUDAExecutionProvider"
        assert found.environment["delegated_nodes"] == found.environment["nodes"]
        assert found.environment["gpu"] in nvidia.names()
        assert found.environment["runtime"] == "onnxruntime-gpu"

    def test_litert_predicts_like_the_keras_model(self, on_gpu: Callable[[str, str], Run], scores: "NDArray[np.float32]") -> None:
        found = on_gpu("litert-gpu", "tflite-float32")
        assert not found.environment["software_gpu"]
        assert abs(found.scores - scores).max() < 1e-4
