# SPDX-License-Identifier: Apache-2.0
"""The memory that runtimes plan for tensors, in real runs."""

from pathlib import Path

import pytest

from edgeferry.models.system.child import Child
from edgeferry.targets.litert.arena import covered
from edgeferry.targets.target import Job, Run, targets


def _arena(target: str, job: Job) -> int | None:
    arena = targets()[target].arena
    assert arena is not None
    return arena(job)


def _arena_of(target: str, form: str, build: Path, child: Child, tmp_path: Path) -> int:
    job = Job(build / form, build / "reference" / "pixels.npy", tmp_path)
    found: int = child.call(_arena, target, job, log=tmp_path / "log")
    return found


@pytest.mark.parametrize(("form", "bytes_each"), [("tflite-float32", 4), ("tflite-int8", 1)])
def test_tf_lite_s_arena_holds_the_first_convolution_s_input_and_output(
    form: str, bytes_each: int, build: Path, child: Child, tmp_path: Path
) -> None:
    found = _arena_of("litert-builtin", form, build, child, tmp_path)
    image, convolved = 24 * 20 * 3, 12 * 10 * 8
    assert (image + convolved) * bytes_each <= found < 2 * (image + convolved) * 4 + 4096


def test_what_xnnpack_holds_is_not_in_the_arena(build: Path, child: Child, tmp_path: Path) -> None:
    arenas = [_arena_of(target, "tflite-float32", build, child, tmp_path) for target in ("litert", "litert-builtin")]
    assert arenas[0] < arenas[1]


def test_onnx_runtime_s_arena_is_reported_and_its_log_is_quiet_again(build: Path, child: Child, tmp_path: Path) -> None:
    # It takes at least a megabyte.
    assert _arena_of("onnxruntime-cpu", "onnx-float32", build, child, tmp_path) >= 2**20
    log = tmp_path / "log of the next"
    job = Job(build / "onnx-float32", build / "reference" / "pixels.npy", tmp_path)
    run: Run = child.call(targets()["onnxruntime-cpu"].run, job, log=log)
    assert len(run.scores)
    assert "BFCArena" in (tmp_path / "log").read_text()
    assert "BFCArena" not in log.read_text()


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], 0),
        ([(100, 200)], 100),
        ([(100, 200), (150, 180)], 100),
        ([(100, 200), (240, 300)], 200),
        ([(240, 300), (100, 200), (1000, 1100)], 300),
    ],
    ids=["none", "one", "one within another", "a gap of alignment", "two blocks"],
)
def test_blocks_are_added_and_tensors_that_share_a_place_are_not(spans: list[tuple[int, int]], expected: int) -> None:
    assert covered(spans) == expected
