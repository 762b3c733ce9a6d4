# SPDX-License-Identifier: Apache-2.0
"""``edgeferry compare``: a slowed artifact is flagged, an identical copy is not."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.latency import interleave
from edgeferry.benchmarks.latency.compare import ComparisonPlan, compare
from edgeferry.benchmarks.latency.loaded import interleaving_targets
from edgeferry.exporters.export import export_all
from edgeferry.models.system.child import Child
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import targets

FORMAT: Final = "tflite-float32"
SHORT: Final = ComparisonPlan(launches=2, rounds=5)


def _compare(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeferry", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def slowed(exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the default classifier with one more convolution, which changes its outputs by next to nothing."""
    import keras

    folder = tmp_path_factory.mktemp("slowed")
    model = keras.saving.load_model(exported_digits.spec.model)
    more = keras.layers.GlobalAveragePooling2D(name="mean")(keras.layers.Conv2D(64, 3, padding="same", name="more")(model.input))
    small = keras.layers.Dense(10, name="small", kernel_initializer=keras.initializers.RandomNormal(stddev=1e-9))(more)
    keras.Model(model.input, keras.layers.Add(name="sum")([model.output, small])).save(folder / "slowed.keras")
    spec = replace(exported_digits.spec, model=folder / "slowed.keras")
    (export,) = export_all(spec, folder / "build", (FORMAT,), lambda *_: None)
    assert export.state == "written", export.reason
    return folder / "build" / FORMAT


@pytest.mark.alone
@pytest.mark.slow
def test_an_added_layer_is_a_regression(exported_digits: Any, slowed: Path, tmp_path: Path) -> None:
    done = _compare(exported_digits.build / FORMAT, slowed, "--launches", 3, "--json", tmp_path / "all.json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "slower; a regression" in done.stdout
    written = json.loads((tmp_path / "all.json").read_text())
    assert written["cpu"]["low"] > 1.05
    assert len(written["times"]["new"]["cpu_ms"]) == 3
    assert {len(each) for each in written["times"]["null"]["wall_ms"]} == {ComparisonPlan().rounds}


@pytest.mark.alone
@pytest.mark.slow
@pytest.mark.parametrize(("form", "target"), [(FORMAT, "litert"), ("onnx-float32", "onnxruntime-cpu")])
def test_an_identical_copy_is_no_regression(form: str, target: str, exported_digits: Any, tmp_path: Path) -> None:
    for name in (form, "reference"):
        shutil.copytree(exported_digits.build / name, tmp_path / name)
    done = _compare(exported_digits.build / form, tmp_path / form, "--target", target, "--launches", 3)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"no regression beyond a minimum effect of 5 %", done.stdout)


@pytest.mark.parametrize(
    ("plan", "code"),
    [
        (ComparisonPlan(1, 30), "EF-launch-count"),
        (ComparisonPlan(3, 1), "EF-round-count"),
        (ComparisonPlan(3, 30, -0.1), "EF-minimum-effect"),
    ],
)
def test_a_plan_without_an_interval_is_refused(plan: ComparisonPlan, code: str, tmp_path: Path) -> None:
    with pytest.raises(EdgeError, check=lambda error: error.code == code):
        compare(tmp_path, tmp_path, "litert", plan, lambda *_: None)


@pytest.mark.parametrize(
    ("form", "target", "code", "value"),
    [
        ("onnx-float32", "litert", "EF-target-format", "onnx-float32"),
        (FORMAT, "chromium-wasm", "EF-target-not-interleaved", "chromium-wasm"),
        (FORMAT, "litertt", None, "litertt"),
        ("nothing", "litert", None, "manifest"),
    ],
)
def test_artifacts_and_targets_that_cannot_be_compared_are_refused(
    form: str, target: str, code: str | None, value: str, exported_digits: Any
) -> None:
    folder = exported_digits.build / form
    with pytest.raises(EdgeError, match=value) as caught:
        compare(folder, folder, target, SHORT, lambda *_: None)
    assert code in {None, caught.value.code}


def test_an_artifact_that_changed_since_its_export_is_refused(exported_digits: Any, tmp_path: Path) -> None:
    for name in (FORMAT, "reference"):
        shutil.copytree(exported_digits.build / name, tmp_path / name)
    file = tmp_path / FORMAT / "model.tflite"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(EdgeError, match="model.tflite", check=lambda error: error.code == "EF-artifact-unsound"):
        compare(exported_digits.build / FORMAT, tmp_path / FORMAT, "litert", SHORT, lambda *_: None)


def test_an_artifact_without_golden_images_is_refused(exported_digits: Any, tmp_path: Path) -> None:
    shutil.copytree(exported_digits.build / FORMAT, tmp_path / FORMAT)
    with pytest.raises(EdgeError, check=lambda error: error.code == "EF-golden-missing"):
        compare(exported_digits.build / FORMAT, tmp_path / FORMAT, "litert", SHORT, lambda *_: None)


class _Aborting(Child):
    """A child whose process is killed in its first iteration."""

    def call(self, function: Any, *arguments: Any, **how: Any) -> Any:
        if function is interleave.time_iteration and self._process is not None and self._process.pid is not None:
            os.kill(self._process.pid, signal.SIGABRT)
        return super().call(function, *arguments, **how)


def test_one_that_dies_is_reported_with_its_round(exported_digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleave, "Child", _Aborting)
    folder = exported_digits.build / FORMAT
    with pytest.raises(
        EdgeError, match=r"round 1 of launch 1.*SIGABRT", check=lambda e: e.code == "EF-artifact-not-timed"
    ) as caught:
        compare(folder, folder, "litert", SHORT, lambda *_: None)
    log = Path(str(caught.value).rpartition("see ")[2])
    assert log.is_file()
    shutil.rmtree(log.parent)


def test_targets_that_can_be_interleaved_are_those_that_run_in_this_process() -> None:
    assert set(interleaving_targets()) == {name for name, target in targets().items() if target.open}
    assert {"litert", "onnxruntime-cpu"} <= set(interleaving_targets())
