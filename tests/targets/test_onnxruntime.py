# SPDX-License-Identifier: Apache-2.0
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edgeferry.models.system.child import ChildError
from edgeferry.targets.host import installed
from edgeferry.targets.onnx_tensors import tensors
from edgeferry.targets.target import Job, Run, Unsupported, targets

Answer = Callable[..., Run]


def test_the_provider_that_ran_is_recorded(answer: Answer) -> None:
    assert answer("onnxruntime-cpu", "onnx-float32").environment["provider"] == "CPUExecutionProvider"


def test_without_optimizations_other_kernels_compute(answer: Answer) -> None:
    fused, plain = answer("onnxruntime-cpu", "onnx-float32"), answer("onnxruntime-unoptimized", "onnx-float32")
    assert (fused.environment["optimized"], plain.environment["optimized"]) == (True, False)
    assert 0 < abs(fused.scores - plain.scores).max() < 1e-4


def test_values_of_an_int8_file_are_those_that_are_read(build: Path, tmp_path: Path) -> None:
    job = Job(build / "onnx-int8", build / "reference" / "pixels.npy", tmp_path)
    values = next(iter(tensors(job).values))
    activations = [value for name, value in values.items() if "re_lu" in name]
    assert activations
    assert all(value.min() >= 0 and value.max() <= 6.001 for value in activations)


def test_a_truncated_file_fails(build: Path, tmp_path: Path, answer: Answer) -> None:
    folder = Path(shutil.copytree(build / "onnx-float32", tmp_path / "cut"))
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ChildError, match=r"InvalidProtobuf|INVALID_PROTOBUF|INVALID_GRAPH"):
        answer("onnxruntime-cpu", folder)


def test_a_file_without_labels_has_none(build: Path, tmp_path: Path, answer: Answer) -> None:
    import onnx

    folder = Path(shutil.copytree(build / "onnx-float32", tmp_path / "bare"))
    model = onnx.load(folder / "model.onnx")
    del model.metadata_props[:]
    onnx.save(model, folder / "model.onnx")
    assert answer("onnxruntime-cpu", folder).labels is None


def test_the_nodes_that_the_provider_took_are_counted(answer: Answer) -> None:
    recorded = answer("onnxruntime-cpu", "onnx-float32").environment
    assert recorded["delegated_nodes"] == recorded["nodes"] > 5


def test_a_provider_that_does_not_start_is_not_replaced_by_the_cpu(answer: Answer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("onnxruntime-cuda", "onnxruntime-tensorrt"):
        if targets()[name].missing() is None:
            pytest.skip("there is an NVIDIA GPU here")
        monkeypatch.setitem(targets(), name, replace(targets()[name], missing=lambda: None))
        with pytest.raises(
            Unsupported, match="CPUExecutionProvider", check=lambda error: error.code == "EF-provider-not-started"
        ):
            answer(name, "onnx-float32")


def test_a_machine_without_an_nvidia_gpu_has_no_cuda_device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "CUDA_DEVICE", tmp_path / "nvidia0")
    for name in ("onnxruntime-cuda", "onnxruntime-tensorrt", "keras-gpu"):
        assert str(targets()[name].missing()).startswith("no CUDA device")


def test_a_wheel_without_the_provider_is_reported_with_the_one_that_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia0").touch()
    monkeypatch.setattr(installed, "CUDA_DEVICE", tmp_path / "nvidia0")
    why = targets()["onnxruntime-cuda"].missing()
    assert why is None or "has no CUDAExecutionProvider; `make setup-gpu`" in why
