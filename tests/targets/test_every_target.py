# SPDX-License-Identifier: Apache-2.0
"""What holds for every target, told by the registry."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import edgeferry.targets
from edgeferry.exporters.format import formats
from edgeferry.models.artifact import read_artifact
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.models.system.registry import records_in
from edgeferry.targets.target import Run, choose, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

EXPORTED: Final = ("keras", "savedmodel", "tflite-float32", "tflite-int8", "onnx-float32", "tfjs-float32", "container-float32")
# float32 on other kernels differs by rounding; uint8 answers come in steps of 1/256, from weights of 8 bits.
LARGEST_DIFFERENCE: Final = {"float32": 1e-4, "int8": 0.15}
RUNS: Final = [
    (name, form)
    for name, target in targets().items()
    for form in EXPORTED
    # A container's image needs what may not be reached: test_endpoint.py builds one where it can.
    if formats()[form].kind in target.reads and name not in {"null", "endpoint-container"}
]
FRAMEWORKS: Final = (
    "numpy",
    "tensorflow",
    "keras",
    "onnxruntime",
    "ai_edge_litert",
    "playwright",
    "coremltools",
    "PIL",
    "starlette",
    "uvicorn",
    "urllib3",
)
LIST_AND_ASK: Final = f"""
import sys
from edgeferry.targets.target import targets
for target in targets().values():
    target.missing(), target.versions()
print(*sorted(set({FRAMEWORKS!r}) & set(sys.modules)))
"""


def test_listing_and_asking_what_is_missing_imports_no_framework() -> None:
    told = subprocess.run([sys.executable, "-c", LIST_AND_ASK], cwd=ROOT, capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ""


def test_no_two_targets_have_one_name() -> None:
    names = [target.name for _, target in records_in(edgeferry.targets, "TARGETS")]
    assert sorted(names) == list(targets())


@pytest.mark.parametrize("name", targets())
def test_a_name_is_lower_case_words(name: str) -> None:
    assert name == name.lower()
    assert name.replace("-", "").replace(".", "").isalnum()


@pytest.mark.parametrize("name", targets())
def test_what_is_missing_is_told_with_the_way_to_get_it(name: str) -> None:
    why = targets()[name].missing()
    assert why is None or (("install" in why or "make setup" in why) and not why.endswith("."))


def test_what_is_missing_is_told_where_nothing_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "path", [])
    monkeypatch.setattr("edgeferry.targets.boards.tflite_runtime.ROOT", tmp_path)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setattr("edgeferry.targets.host.installed.find_spec", lambda _: None)
    here = {name for name, target in targets().items() if target.missing() is None}
    assert here == {"null"}


def test_every_format_is_read_by_the_null_target() -> None:
    assert {form.kind for form in formats().values()} <= targets()["null"].reads


def test_the_null_target_runs_only_when_named() -> None:
    assert "null" not in {target.name for target in choose(None)}
    assert [target.name for target in choose(("null",))] == ["null"]


def test_a_target_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(EdgeError, match=r"'litertt' is not a target; there are .*litert"):
        choose(("litertt",))


def test_the_list_names_every_target() -> None:
    told = subprocess.run([sys.executable, "-m", "edgeferry", "targets"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(name in told.stdout for name in targets())


@pytest.mark.parametrize(("name", "form"), RUNS)
def test_it_answers_as_the_original_does(
    name: str, form: str, answer_once: Callable[..., Run], build: Path, scores: "NDArray[np.float32]"
) -> None:
    run = answer_once(name, form)
    precision = "int8" if form.endswith("int8") else "float32"
    expected = scores if run.answered is None else scores[list(run.answered)]
    assert (run.scores.shape, str(run.scores.dtype)) == (expected.shape, "float32")
    assert abs(run.scores - expected).max() < LARGEST_DIFFERENCE[precision]
    assert run.labels in {None, read_artifact(build / form).labels}


@pytest.mark.parametrize(("name", "form"), RUNS)
def test_it_times_the_rounds_asked_for_and_says_what_ran(name: str, form: str, answer_once: Callable[..., Run]) -> None:
    run = answer_once(name, form)
    assert len(run.latencies_ms) == (1 if run.environment.get("software_gpu") else 7)
    assert all(0 < latency < 5000 for latency in (*run.latencies_ms, run.first_ms, run.load_ms))
    assert run.environment["threads"] == 1
    assert {"runtime", "version"} <= set(run.environment)


def test_the_null_target_costs_nothing_and_agrees_with_nothing(answer: Callable[..., Run], scores: "NDArray[np.float32]") -> None:
    run = answer("null", "tflite-int8")
    assert run.scores.shape == scores.shape
    assert not run.scores.any()
