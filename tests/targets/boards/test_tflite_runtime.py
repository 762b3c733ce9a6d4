# SPDX-License-Identifier: Apache-2.0
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from edgeferry.models.system.child import ChildError
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.boards.tflite_runtime import in_order
from edgeferry.targets.target import Run, Unsupported, targets

Answer = Callable[..., Run]


@pytest.fixture(scope="session")
def too_new(build: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a float32 artifact whose Dense layer claims a version of the operation that only newer runtimes know."""
    from tensorflow.lite.python import schema_py_generated as schema
    from tensorflow.lite.tools import flatbuffer_utils

    folder = Path(shutil.copytree(build / "tflite-float32", tmp_path_factory.mktemp("new") / "tflite-float32"))
    model = flatbuffer_utils.read_model(str(folder / "model.tflite"))
    for code in model.operatorCodes:
        if code.builtinCode == schema.BuiltinOperator.FULLY_CONNECTED:
            code.version = 12
    flatbuffer_utils.write_model(model, str(folder / "model.tflite"))
    return folder


def test_an_operation_newer_than_the_runtime_is_unsupported_not_failed(too_new: Path, answer: Answer) -> None:
    with pytest.raises(
        Unsupported,
        match=r"^tflite-runtime 2\.14\.0 .* FULLY_CONNECTED version 12",
        check=lambda error: error.code == "EF-operation-too-new",
    ):
        answer("tflite-runtime", too_new)


def test_a_truncated_file_that_crashes_the_runtime_does_not_end_the_run(build: Path, tmp_path: Path, answer: Answer) -> None:
    folder = Path(shutil.copytree(build / "tflite-float32", tmp_path / "cut"))
    file = folder / "model.tflite"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises((ChildError, EdgeError), match=r"SIGSEGV|SIGBUS|ValueError"):
        answer("tflite-runtime", folder)
    assert len(answer("tflite-runtime", "tflite-float32").latencies_ms) == 5


def test_it_really_ran_in_the_other_environment(answer: Answer) -> None:
    environment = answer("tflite-runtime", "tflite-int8").environment
    assert (environment["runtime"], environment["version"], environment["numpy"][:2]) == ("tflite_runtime", "2.14.0", "1.")


def test_its_versions_are_read_from_the_other_environment() -> None:
    if why := targets()["tflite-runtime"].missing():
        pytest.skip(why)
    assert targets()["tflite-runtime"].versions()["tflite-runtime"] == "2.14.0"


def test_another_python_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFERRY_TFLITE_2_14_PYTHON", str(tmp_path / "python"))
    why = targets()["tflite-runtime"].missing()
    assert why is not None
    assert str(tmp_path / "python") in why


def test_it_reads_its_scale_from_the_file_as_litert_does(answer: Answer) -> None:
    old, new = answer("tflite-runtime", "tflite-int8").scores, answer("litert", "tflite-int8").scores
    assert (old.argmax(axis=1) == new.argmax(axis=1)).mean() > 0.98


def test_images_that_ran_in_another_order_come_back_in_their_own() -> None:
    ran = Run(np.array([[2.0], [0.0], [1.0]], np.float32), None, (), 0.0, 0.0)
    assert in_order(ran, [2, 0, 1], 2).scores.ravel().tolist() == [0, 1, 2]


def test_where_time_ran_out_a_run_is_of_the_golden_images_that_it_had() -> None:
    ran = Run(np.array([[1.0], [0.0], [2.0]], np.float32), None, (), 0.0, 0.0)
    found = in_order(ran, [1, 0, 2, 3], 2)
    assert found.image_indices == (1, 0)
    assert found.scores.ravel().tolist() == [1, 0]
