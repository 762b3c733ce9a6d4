# SPDX-License-Identifier: Apache-2.0
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models.child import ChildError
from targets.target import Run

Answer = Callable[..., Run]


def test_the_provider_that_ran_is_told(answer: Answer) -> None:
    assert answer("onnxruntime-cpu", "onnx-float32").environment["provider"] == "CPUExecutionProvider"


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
