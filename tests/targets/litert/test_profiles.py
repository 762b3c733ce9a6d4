# SPDX-License-Identifier: Apache-2.0
"""The time of each operation, by the runtimes' own profilers, in real runs."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from edgeferry.models.system.child import Child
from edgeferry.targets.litert import profile as litert_profile
from edgeferry.targets.litert.profile import BUILTIN, DELEGATED, INVOKE
from edgeferry.targets.target import Job, OperationTime, Unsupported, targets

Profile = Callable[[str, str], Sequence[OperationTime]]


def _profile(target: str, job: Job) -> Sequence[OperationTime]:
    profile = targets()[target].profile
    assert profile is not None
    return profile(job)


@pytest.fixture
def profiled(build: Path, child: Child, tmp_path: Path) -> Profile:
    def run(target: str, form: str) -> Sequence[OperationTime]:
        job = Job(build / form, build / "reference" / "pixels.npy", tmp_path)
        found: Sequence[OperationTime] = child.call(_profile, target, job, log=tmp_path / "log")
        return found

    return run


@pytest.mark.parametrize("form", ["tflite-float32", "tflite-int8"])
def test_litert_reports_every_operation_in_the_order_in_which_it_runs(form: str, profiled: Profile) -> None:
    found = profiled("litert", form)
    kinds = [each.kind.partition(" ")[0].lower() for each in found]
    assert "convolution" in kinds
    assert kinds.index("softmax") >= len(kinds) - 2
    assert len({each.name for each in found}) == len(found)
    assert all(each.ms >= 0 for each in found)


def test_litert_reports_the_operations_that_the_delegate_left(profiled: Profile) -> None:
    owners = {each.name.partition(", ")[2] for each in profiled("litert", "tflite-int8")}
    assert owners == {"LiteRT", "XNNPACK"}


def test_onnx_runtime_reports_every_node_and_leaves_no_file(profiled: Profile, tmp_path: Path) -> None:
    found = profiled("onnxruntime-cpu", "onnx-float32")
    assert {"Conv", "Softmax"} <= {each.kind for each in found}
    assert all(each.ms > 0 for each in found)
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


def test_operations_of_two_parts_with_the_same_numbers_are_distinguished() -> None:
    event = litert_profile._ProfileEvent
    inference = [event("invoke", INVOKE, 9), event("Add", DELEGATED, 2), event("MUL", BUILTIN, 4), event("Add", DELEGATED, 6)]
    found = litert_profile._operations([*inference, *inference, event("invoke", INVOKE, 9), event("Add", DELEGATED, 99)])
    assert [(each.kind, each.ms) for each in found] == [("Add", 0.002), ("MUL", 0.004), ("Add", 0.006)]


def test_a_library_without_the_functions_has_another_version() -> None:
    with (
        ExitStack() as stack,
        pytest.raises(Unsupported, match="LiteRtNoSuchFunction", check=lambda error: error.code == "EF-profiler-version"),
    ):
        litert_profile._Library(stack).call("NoSuchFunction")
