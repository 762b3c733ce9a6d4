# SPDX-License-Identifier: Apache-2.0
from pathlib import Path
from typing import Any

import pytest

from edgeferry.benchmarks.parity.outcome import Verdict
from edgeferry.benchmarks.selftest.laboratory import SCRATCH
from edgeferry.benchmarks.selftest.quantized import onnx
from edgeferry.benchmarks.selftest.quantized.tflite import layers_in
from edgeferry.benchmarks.selftest.result import SelfTest, false_alarms, holds
from edgeferry.benchmarks.selftest.run import Plan, self_test
from edgeferry.models.artifact import files_of, read_artifact
from edgeferry.models.system.errors import EdgeError

FORMATS = ("onnx-float32", "tflite-int8")


def selftest_of(exported: Any, *families: str, seconds: float = 600) -> SelfTest:
    return self_test(exported.spec, exported.build, Plan(FORMATS, families, seconds), lambda *_: None)


@pytest.fixture(scope="module")
def found(exported_colours: Any) -> SelfTest:
    return selftest_of(exported_colours, "labels", "softmax", "channel scales", "changed file")


def of(found: SelfTest, form: str, fault: str) -> Any:
    return next(trial for trial in found.trials if (trial.format, trial.fault) == (form, fault))


@pytest.mark.parametrize("form", FORMATS)
def test_exchanged_labels_are_harmful_and_caught(found: SelfTest, form: str) -> None:
    trial = of(found, form, "two labels exchanged, the first")
    assert (trial.harm, trial.outcome) == ("harmful", "failed")


def test_a_fault_of_quantized_files_is_planted_in_these_alone(found: SelfTest) -> None:
    assert {trial.format for trial in found.trials if trial.family == "channel scales"} == {"tflite-int8"}


def test_a_file_that_changed_after_the_export_is_caught(found: SelfTest) -> None:
    assert all(trial.is_caught for trial in found.trials if trial.family == "changed file")


def test_the_artifacts_stay_as_they_are(found: SelfTest, exported_colours: Any) -> None:
    for form in FORMATS:
        folder = exported_colours.build / form
        assert read_artifact(folder).sha256 == found.artifacts[form]
        assert files_of(folder) == read_artifact(folder).files


def test_nothing_is_left_behind(found: SelfTest, exported_colours: Any) -> None:
    assert found.trials
    assert not (exported_colours.build / SCRATCH).exists()


def test_honest_exports_pass(exported_colours: Any) -> None:
    found = selftest_of(exported_colours, "honest")
    assert {trial.format for trial in found.trials} == set(FORMATS)
    assert not false_alarms(found.trials)


def test_a_check_that_passes_everything_is_found_out(exported_colours: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeferry.benchmarks.parity.one_run.judge", lambda *_: Verdict("passed", "blind", images=1))
    assert not holds(selftest_of(exported_colours, "channels"))


def test_what_there_was_no_time_for_is_counted(exported_colours: Any) -> None:
    found = selftest_of(exported_colours, "labels", seconds=0)
    assert not found.trials
    assert set(found.untried) == set(FORMATS)


def test_a_build_folder_without_artifacts_is_refused(exported_colours: Any, tmp_path: Path) -> None:
    (tmp_path / "reference").symlink_to(exported_colours.build / "reference")
    with pytest.raises(EdgeError) as error:
        selftest_of(exported_colours._replace(build=tmp_path), "labels")
    assert error.value.code == "EF-exports-unreadable"


def test_layers_of_an_onnx_file_are_changed(exported_colours: Any) -> None:
    before = (exported_colours.build / "onnx-int8" / "model.onnx").read_bytes()
    layers, closed = onnx.OPENER.opened(before)
    assert closed() == before
    assert [len(layer.scales) for layer in layers] == [8, 16, 4]
    layers[0].scales[1] *= 2
    assert onnx.OPENER.opened(closed())[0][0].scales[1] == layers[0].scales[1]


def test_layers_of_a_file_are_changed_in_place(exported_colours: Any) -> None:
    model = bytearray((exported_colours.build / "tflite-int8" / "model.tflite").read_bytes())
    before = bytes(model)
    layers = layers_in(model)
    assert [layer.weights.shape[0] for layer in layers] == [8, 16, 4]
    layers[0].scales[1] *= 2
    assert sum(one != other for one, other in zip(before, model, strict=True)) in {1, 2}
    assert layers_in(model)[0].scales[1] == layers[0].scales[1]
