# SPDX-License-Identifier: Apache-2.0
"""What artifacts cost beside latency: measured in processes of their own, as a run does."""

import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeferry.benchmarks.latency import costs
from edgeferry.benchmarks.latency.costs import Costs, compressed_bytes, costs_of, operations_of
from edgeferry.benchmarks.latency.energy import Drawn, drawn
from edgeferry.benchmarks.latency.entries import Asked
from edgeferry.benchmarks.latency.measure import Effort, measure
from edgeferry.models.artifact import read_artifact
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.host.installed import CUDA_DEVICE
from edgeferry.targets.target import Job, choose, targets


@pytest.fixture
def cost(exported_digits: Any, tmp_path: Path) -> Callable[[str, str], Costs]:
    def run(form: str, target: str) -> Costs:
        job = Job(exported_digits.build / form, exported_digits.build / "reference" / "pixels.npy", tmp_path)
        with Child() as child:
            found: Costs = child.call(costs_of, target, job, log=tmp_path / "log")
        return found

    return run


@pytest.mark.alone
def test_litert_costs_memory_and_gives_answers_on_every_core(cost: Callable[[str, str], Costs]) -> None:
    found = cost("tflite-float32", "litert")
    # The library alone is some megabytes; all of TensorFlow would be hundreds.
    assert found.memory_bytes is not None
    assert 2e6 < found.memory_bytes < 2e8
    assert found.serial_per_s is not None
    assert found.serial_per_s > 100
    assert found.before_ms is not None
    assert 0 < found.before_ms < 1000
    assert (found.workers is None) == (found.concurrent_per_s is None)
    assert found.batch is None


@pytest.mark.alone
def test_what_takes_batches_answers_more_of_them_a_second(cost: Callable[[str, str], Costs]) -> None:
    found = cost("onnx-float32", "onnxruntime-cpu")
    assert found.batch == costs.BATCH
    assert found.batch_per_s is not None
    assert found.batch_per_s > 100


def test_energy_is_told_where_the_processor_counts_it(cost: Callable[[str, str], Costs]) -> None:
    with drawn() as told:
        time.sleep(0.1)
    found = cost("tflite-float32", "litert")
    assert (found.energy_mj is None) == (told.watts is None)
    assert found.energy_by == (None if told.watts is None else told.by)


@pytest.mark.gpu
@pytest.mark.skipif(not CUDA_DEVICE.exists(), reason="needs an NVIDIA GPU and its driver")
def test_what_a_gpu_holds_and_draws_is_told(cost: Callable[[str, str], Costs], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if why := targets()["onnxruntime-cuda"].missing():
        pytest.skip(why)
    found = cost("onnx-float32", "onnxruntime-cuda")
    # CUDA's context alone takes some hundred megabytes of the GPU.
    assert found.gpu_memory_bytes is not None
    assert found.gpu_memory_bytes > 1e8
    assert found.energy_by in {"NVML", "RAPL and NVML"}
    assert found.energy_mj is not None
    assert found.energy_mj > 1


def test_energy_is_of_one_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def two_watts(*, by_gpu: bool) -> Iterator[Drawn]:
        assert not by_gpu
        yield Drawn("RAPL", 2.0)

    monkeypatch.setattr(costs, "drawn", two_watts)
    monkeypatch.setattr(costs, "COUNTED_S", 0.05)
    per_s, energy_mj, energy_by = costs._serial(lambda: time.sleep(0.001))
    assert energy_mj == pytest.approx(2000 / per_s)
    assert energy_by == "RAPL"


def test_the_arena_is_told_by_the_runtime(exported_digits: Any) -> None:
    asked = Asked(
        exported_digits.build, ("onnx-float32", "tflite-float32"), choose(("litert", "litert-builtin", "onnxruntime-cpu"))
    )
    arenas = {case.target: case.costs.arena_bytes for case in measure(asked, Effort(2, 50, costs=True), lambda _: None).cases}
    # Input and output alone, where XNNPACK holds what is between.
    assert 32 * 32 * 4 <= arenas["litert"] < arenas["litert-builtin"] < 2**20
    assert arenas["onnxruntime-cpu"] >= 2**20


def test_a_compressed_artifact_is_as_large_as_gzip_makes_its_files(exported_digits: Any) -> None:
    folder = exported_digits.build / "tflite-int8"
    artifact = read_artifact(folder)
    expected = sum(len(zlib.compress((folder / name).read_bytes(), wbits=31)) for name in artifact.files)
    assert compressed_bytes(folder, artifact.sha256) == expected < artifact.bytes


def test_a_run_tells_what_else_it_costs_and_what_each_operation_takes(exported_digits: Any) -> None:
    asked = Asked(exported_digits.build, ("tflite-float32",), choose(("litert",)))
    (case,) = measure(asked, Effort(2, 50, costs=True), lambda _: None).cases
    assert case.costs is not None
    assert {"Softmax (NC, F32)"} <= {each.kind for each in case.costs.operations}
    assert case.compressed_bytes is not None


def test_what_times_itself_tells_its_own_memory(exported_digits: Any) -> None:
    asked = Asked(exported_digits.build, ("tflite-float32",), choose(("tflite-runtime",)))
    (case,) = measure(asked, Effort(2, 50, costs=True), lambda _: None).cases
    if case.state == "not run":
        pytest.skip(case.reason)
    assert case.costs is not None
    assert case.costs.memory_bytes is not None
    assert 1e6 < case.costs.memory_bytes < 1e8


def test_a_profiler_that_fails_leaves_the_other_costs(exported_digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(child: Child, function: Callable[..., Any], *arguments: Any, **how: Any) -> Any:
        if function is operations_of:
            raise EdgeError("no such profiler")
        return real(child, function, *arguments, **how)

    real = Child.call
    monkeypatch.setattr(Child, "call", call)
    asked = Asked(exported_digits.build, ("tflite-float32",), choose(("litert",)))
    (case,) = measure(asked, Effort(2, 50, costs=True), lambda _: None).cases
    assert case.state == "measured"
    assert case.costs == replace(case.costs or Costs(), operations=[], problem="no operations: no such profiler")
    assert case.costs.arena_bytes is not None
