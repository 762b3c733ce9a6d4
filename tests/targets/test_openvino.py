# SPDX-License-Identifier: Apache-2.0
"""OpenVINO's program, run where `make setup-openvino` was; what is made of its answers, anywhere."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from edgeferry.targets.openvino.cpu import checked, profile
from edgeferry.targets.target import Job, Run, Unsupported, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RAN: Final = {"devices": ["CPU"], "threads": 1}
NO_RULE: Final = "failed:\nSummary:\n-- No conversion rule found for operations: StringConcat-20, com.nobody.Unheard\n\n"
NO_TRANSLATOR: Final = "failed with OpConversionFailure:\nNo translator found for Nobodys node.\n\n"

needs_openvino = pytest.mark.skipif(targets()["openvino-cpu"].missing() is not None, reason="make setup-openvino was not run")


@pytest.mark.parametrize(("error", "names"), [(NO_RULE, "StringConcat-20, com.nobody.Unheard"), (NO_TRANSLATOR, "Nobodys")])
def test_operations_that_openvino_lacks_are_named(error: str, names: str) -> None:
    with pytest.raises(Unsupported, match=f"^OpenVINO has no {names}$") as caught:
        checked({"error": error}, 1)
    assert caught.value.code == "EF-openvino-operation"


def test_a_file_that_cannot_be_read_is_no_missing_operation() -> None:
    with pytest.raises(RuntimeError, match="can't be parsed"):
        checked({"error": "GeneralFailure:\nModel can't be parsed\n\n"}, 1)


@pytest.mark.parametrize("ran", [RAN | {"threads": 2}, RAN | {"devices": ["CPU", "GPU"]}])
def test_what_did_not_run_as_requested_is_refused(ran: dict[str, Any]) -> None:
    with pytest.raises(Unsupported) as caught:
        checked({"error": None, "environment": ran}, 1)
    assert caught.value.code == "EF-openvino-device"


@needs_openvino
def test_images_run_in_batches_too(build: Path, answer: Callable[..., Run], scores: "NDArray[np.float32]") -> None:
    run = answer("openvino-cpu", "onnx-float32", reference=build / "reference")
    assert run.batched is not None
    numbers = [number for batch in run.batched.batches for number in batch]
    assert [len(batch) for batch in run.batched.batches] == [7, 8]
    assert abs(run.batched.scores - scores[numbers]).max() < 1e-5


@needs_openvino
def test_a_damaged_file_does_not_run(build: Path, tmp_path: Path, answer: Callable[..., Run]) -> None:
    folder = Path(shutil.copytree(build / "onnx-float32", tmp_path / "cut"))
    file = folder / "model.onnx"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(Exception, match="OpenVINO cannot read it"):
        answer("openvino-cpu", folder)


@needs_openvino
def test_its_profiler_reports_every_operation(build: Path, tmp_path: Path) -> None:
    found = profile(Job(build / "tflite-int8", build / "reference" / "pixels.npy", tmp_path))
    assert "Convolution" in {each.kind for each in found}
    assert all(each.ms >= 0 for each in found)
