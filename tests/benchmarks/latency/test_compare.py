# SPDX-License-Identifier: Apache-2.0
"""``python -m benchmarks compare``: a slowed artifact is flagged, an identical copy is not."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from edgeferry.benchmarks.latency import interleave
from edgeferry.benchmarks.latency.compare import Effort, compare
from edgeferry.exporters.export import export_all
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import targets

FORMAT: Final = "tflite-float32"
SHORT: Final = Effort(launches=2, rounds=5)


def _compare(*arguments: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "edgeferry", "compare", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


@pytest.fixture(scope="module")
def slowed(exported_digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the default classifier with a convolution more, which changes its answers by next to nothing."""
    import keras

    folder = tmp_path_factory.mktemp("slowed")
    model = keras.saving.load_model(exported_digits.spec.model)
    more = keras.layers.GlobalAveragePooling2D(name="mean")(keras.layers.Conv2D(64, 3, padding="same", name="more")(model.input))
    small = keras.layers.Dense(10, name="small", kernel_initializer=keras.initializers.RandomNormal(stddev=1e-9))(more)
    keras.Model(model.input, keras.layers.Add(name="sum")([model.output, small])).save(folder / "slowed.keras")
    spec = replace(exported_digits.spec, model=folder / "slowed.keras")
    (export,) = export_all(spec, folder / "build", (FORMAT,), lambda _: None)
    assert export.state == "written", export.reason
    return folder / "build" / FORMAT


@pytest.mark.alone
@pytest.mark.slow
def test_an_added_layer_is_a_regression(exported_digits: Any, slowed: Path, tmp_path: Path) -> None:
    done = _compare(exported_digits.build / FORMAT, slowed, "--launches", 3, "--json", tmp_path / "all.json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "slower; a regression" in done.stdout
    told = json.loads((tmp_path / "all.json").read_text())
    assert told["cpu"]["low"] > 1.05
    assert len(told["times"]["new"]["cpu_ms"]) == 3
    assert {len(each) for each in told["times"]["null"]["wall_ms"]} == {Effort().rounds}


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
    ("effort", "told"),
    [
        (Effort(1, 30), "make no interval"),
        (Effort(3, 1), "make no interval"),
        (Effort(3, 30, -0.1), "is negative"),
    ],
)
def test_too_little_effort_is_refused(effort: Effort, told: str, exported_digits: Any) -> None:
    folder = exported_digits.build / FORMAT
    with pytest.raises(EdgeError, match=told):
        compare(folder, folder, "litert", effort, lambda _: None)


@pytest.mark.parametrize(
    ("form", "target", "told"),
    [
        ("onnx-float32", "litert", "does not read onnx-float32"),
        (FORMAT, "chromium-wasm", "times itself"),
        (FORMAT, "litertt", "litertt"),
        ("nothing", "litert", "manifest"),
    ],
)
def test_what_cannot_be_compared_is_refused(form: str, target: str, told: str, exported_digits: Any) -> None:
    folder = exported_digits.build / form
    with pytest.raises(EdgeError, match=told):
        compare(folder, folder, target, SHORT, lambda _: None)


def test_an_artifact_that_changed_since_its_export_is_refused(exported_digits: Any, tmp_path: Path) -> None:
    for name in (FORMAT, "reference"):
        shutil.copytree(exported_digits.build / name, tmp_path / name)
    file = tmp_path / FORMAT / "model.tflite"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(EdgeError, match="model.tflite"):
        compare(exported_digits.build / FORMAT, tmp_path / FORMAT, "litert", SHORT, lambda _: None)


def test_an_artifact_without_golden_images_is_refused(exported_digits: Any, tmp_path: Path) -> None:
    shutil.copytree(exported_digits.build / FORMAT, tmp_path / FORMAT)
    with pytest.raises(EdgeError, match="no golden images"):
        compare(exported_digits.build / FORMAT, tmp_path / FORMAT, "litert", SHORT, lambda _: None)


def test_one_that_dies_is_told_with_its_round(exported_digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interleave, "turn", os.abort)
    folder = exported_digits.build / FORMAT
    with pytest.raises(EdgeError, match=r"in round 1 of launch 1: the process was killed by SIGABRT") as told:
        compare(folder, folder, "litert", SHORT, lambda _: None)
    log = Path(str(told.value).rpartition("see ")[2])
    assert log.is_file()
    shutil.rmtree(log.parent)


def test_what_is_asked_in_turns_is_named() -> None:
    assert set(interleave.in_turns()) == {name for name, target in targets().items() if target.open}
    assert {"litert", "onnxruntime-cpu"} <= set(interleave.in_turns())
