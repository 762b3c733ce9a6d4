# SPDX-License-Identifier: Apache-2.0
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeferry.models.system.child import ChildError
from edgeferry.targets.target import Run

Answer = Callable[..., Run]


def copied(build: Path, form: str, to: Path) -> Path:
    return Path(shutil.copytree(build / form, to / form))


def test_zero_points_come_from_the_file_not_the_manifest(build: Path, tmp_path: Path, answer: Answer) -> None:
    folder = copied(build, "tflite-int8", tmp_path)
    manifest = json.loads((folder / "manifest.json").read_text())
    for tensor in (*manifest["inputs"], *manifest["outputs"]):
        tensor.update(scale=9.0, zero_point=77)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    assert (answer("litert", folder).scores == answer("litert", "tflite-int8").scores).all()


def test_a_truncated_file_fails(build: Path, tmp_path: Path, answer: Answer) -> None:
    folder = copied(build, "tflite-float32", tmp_path)
    file = folder / "model.tflite"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(ChildError, match="Flatbuffer"):
        answer("litert", folder)


def test_a_file_without_metadata_has_no_labels(build: Path, tmp_path: Path, answer: Answer) -> None:
    folder = copied(build, "tflite-float32", tmp_path)
    file = folder / "model.tflite"
    data = file.read_bytes()
    file.write_bytes(data[: data.rindex(b"PK\x03\x04")])
    assert answer("litert", folder).labels is None


def test_the_delegate_is_read_from_the_interpreter(answer: Answer) -> None:
    assert answer("litert", "tflite-float32").environment["delegate"].startswith("XNNPACK")


def test_the_nodes_that_the_delegate_took_are_counted(answer: Answer) -> None:
    whole, partly = (answer("litert", form).environment for form in ("tflite-float32", "tflite-int8"))
    assert whole["delegated_nodes"] == whole["nodes"] >= 5
    assert 0 < partly["delegated_nodes"] < partly["nodes"]
    assert answer("litert-builtin", "tflite-int8").environment["delegated_nodes"] == 0
