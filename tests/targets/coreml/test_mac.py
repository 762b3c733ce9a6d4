# SPDX-License-Identifier: Apache-2.0
"""Core ML's targets up to the call that needs macOS; the replacement of Core ML here makes no row.

Every name of coremltools that the Mac's code calls is checked against the installed coremltools, which imports everywhere.
"""

import asyncio
import dataclasses
import inspect
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

import pytest

from edgeferry.models.artifact import Tensor, read_artifact, write_manifest
from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.places import ROOT
from edgeferry.targets.coreml import iphone as coreml_iphone
from edgeferry.targets.coreml import mac as coreml
from edgeferry.targets.coreml.interface import Interface, feeds, interface_of
from edgeferry.targets.coreml.mac import UNITS, check_macos, labels_in, run_here
from edgeferry.targets.coreml.plan import compute_plan, summary
from edgeferry.targets.target import Absent, Job, Run, Unsupported, choose, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT: Final = "coreml-float16"
CI: Final = ROOT / ".github" / "workflows" / "ci.yml"
HERE: Final = sys.platform == "darwin"


@pytest.fixture
def ct() -> Any:
    return pytest.importorskip("coremltools", reason="coremltools is not installed")


def _job(build: Path, work: Path, **how: Any) -> Job:
    return Job(build / FORMAT, build / "reference" / "pixels.npy", work, **{"warmup": 1, "rounds": 5} | how)


@pytest.mark.skipif(HERE, reason="Core ML is here")
@pytest.mark.parametrize("name", [*UNITS, "coreml-iphone"])
def test_it_needs_macos(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEFERRY_MAC", raising=False)
    assert (targets()[name].missing() or "").startswith("needs macOS")


@pytest.mark.skipif(HERE, reason="on a Mac all run")
def test_where_there_is_no_mac_one_row_reports_it() -> None:
    assert [target.name for target in choose(None) if target.name in {*UNITS, "coreml-iphone"}] == ["coreml-all"]


@pytest.mark.mac
@pytest.mark.skipif(not HERE, reason="needs macOS")
@pytest.mark.parametrize("name", UNITS)
def test_on_a_mac_all_compute_units_run(name: str) -> None:
    assert targets()[name].missing() is None
    assert targets()[name].by_default


@pytest.mark.mac
@pytest.mark.skipif(not HERE, reason="needs macOS")
@pytest.mark.parametrize("name", UNITS)
def test_it_predicts_like_the_keras_model(name: str, answer: Callable[..., Run], scores: "NDArray[np.float32]") -> None:
    run = answer(name, FORMAT)
    assert abs(run.scores - scores).max() < 0.05
    assert run.environment["compute_units"] == UNITS[name][0]
    assert run.environment["framework_ms"] > 0


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("models.MLModel", ("path", "compute_units=")),
        ("models.MLModel.predict", ("self", "data")),
        ("models.MLModel.get_compiled_model_path", ("self",)),
        ("models.MLModel.get_available_compute_devices", ()),
        ("models.compute_plan.MLComputePlan.load_from_path", ("path=", "compute_units=")),
        ("models.compute_plan.MLComputePlan.get_compute_device_usage_for_mlprogram_operation", ("self", "operation")),
        ("models.compute_plan.MLComputePlan.get_estimated_cost_for_mlprogram_operation", ("self", "operation")),
        ("models.ml_program.experimental.remote_device.Device.get_connected_devices", ("kind",)),
        (
            "models.ml_program.experimental.remote_device.Device.prepare_for_model_debugging",
            ("self", "credentials=", "working_directory="),
        ),
        ("models.ml_program.experimental.remote_device.AppSigningCredentials", ("development_team=",)),
        (
            "models.ml_program.experimental.async_wrapper.MLModelAsyncWrapper.from_spec_or_path",
            ("spec_or_path=", "weights_dir=", "compute_units=", "device="),
        ),
        ("models.ml_program.experimental.async_wrapper.RemoteMLModelAsyncWrapper.load", ("self",)),
        ("models.ml_program.experimental.async_wrapper.RemoteMLModelAsyncWrapper.unload", ("self",)),
        ("models.ml_program.experimental.async_wrapper.RemoteMLModelAsyncWrapper.predict", ("self", "inputs")),
        ("models.ml_program.experimental.async_wrapper.RemoteMLModelAsyncWrapper.retrieve_compute_plan", ("self",)),
    ],
)
def test_the_functions_of_coremltools_exist_and_take_their_arguments(ct: Any, call: str, arguments: tuple[str, ...]) -> None:
    called = _found(ct, call)
    given = [each for each in arguments if not each.endswith("=")]
    named = {each[:-1]: None for each in arguments if each.endswith("=")}
    inspect.signature(called).bind(*given, **named)
    is_remote = "Remote" in call or "prepare" in call
    assert inspect.iscoroutinefunction(called) == is_remote


@pytest.mark.parametrize(
    ("holder", "attributes"),
    [
        ("ComputeUnit", {units for units, _ in UNITS.values()}),
        ("models.MLModel", {"load_duration_in_nano_seconds", "last_predict_duration_in_nano_seconds"}),
        (
            "models.ml_program.experimental.async_wrapper.RemoteMLModelAsyncWrapper",
            {"load_duration_in_nano_seconds", "last_predict_duration_in_nano_seconds"},
        ),
        ("models.ml_program.experimental.remote_device.DeviceType", {"IPHONE", "IPAD"}),
        ("models.compute_plan.MLComputePlan", {"model_structure"}),
        ("models.compute_device", {"MLCPUComputeDevice", "MLGPUComputeDevice", "MLNeuralEngineComputeDevice"}),
    ],
)
def test_the_attributes_of_coremltools_exist(ct: Any, holder: str, attributes: set[str]) -> None:
    assert {name for name in attributes if hasattr(_found(ct, holder), name)} == attributes


@pytest.mark.parametrize(
    ("record", "fields"),
    [
        ("models.compute_plan.MLModelStructure", {"program"}),
        ("models.compute_plan.MLModelStructureProgram", {"functions"}),
        ("models.compute_plan.MLModelStructureProgramFunction", {"block"}),
        ("models.compute_plan.MLModelStructureProgramBlock", {"operations"}),
        ("models.compute_plan.MLModelStructureProgramOperation", {"operator_name", "blocks"}),
        ("models.compute_plan.MLComputePlanDeviceUsage", {"preferred_compute_device", "supported_compute_devices"}),
        ("models.compute_plan.MLComputePlanCost", {"weight"}),
        ("models.ml_program.experimental.remote_device.Device", {"name", "type", "os_version", "os_build_number"}),
    ],
)
def test_the_records_of_coremltools_have_the_fields_that_are_read(ct: Any, record: str, fields: set[str]) -> None:
    assert fields <= {each.name for each in dataclasses.fields(_found(ct, record))}


def _found(ct: Any, name: str) -> Any:
    import importlib

    for depth in range(name.count(".") + 1, 0, -1):
        parts = name.split(".")
        try:
            found = importlib.import_module(".".join([ct.__name__, *parts[:depth]]))
        except ModuleNotFoundError:
            continue
        break
    else:
        found, depth = ct, 0
    for part in name.split(".")[depth:]:
        found = getattr(found, part)
    return found


@pytest.mark.parametrize(
    ("found", "units", "specification", "needed"),
    [
        ((11, 7), "ALL", 6, 12),
        ((12, 6, 1), "CPU_AND_NE", 6, 13),
        ((12, 6), "CPU_ONLY", 7, 13),
        ((13, 1), "ALL", 8, 14),
        ((14, 9), "ALL", 9, 15),
        ((), "ALL", 7, 13),
    ],
)
def test_an_older_macos_is_refused_with_the_needed_version(
    found: tuple[int, ...], units: str, specification: int, needed: int
) -> None:
    with pytest.raises(Unsupported, match=f"macOS {needed} for {units} ", check=lambda error: error.code == "EF-macos-too-old"):
        check_macos(found, units, specification)
    check_macos((needed,), units, specification)
    check_macos((needed, 3), units, specification)


def test_an_accelerator_is_refused_since_each_has_a_target(build: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no accelerator 'gpu'; its targets are coreml-all, coreml-cpu"):
        targets()["coreml-all"].run(_job(build, tmp_path, accelerator="gpu"))


def test_labels_are_read_from_the_program_itself(build: Path, ct: Any) -> None:
    spec = ct.utils.load_spec(str(build / FORMAT / "model.mlpackage"))
    labels = read_artifact(build / FORMAT).labels
    assert labels_in(spec) == labels
    assert interface_of(spec) == Interface("image", "classLabel_probs", takes_image=True, labels=labels)


def test_pictures_are_passed_in_rgb(build: Path, tmp_path: Path) -> None:
    import numpy as np

    job = _job(build, tmp_path)
    fed = feeds(job, Interface("image", "probabilities", takes_image=True, labels=None))
    assert len(fed) == len(job.images())
    assert fed[0]["image"].mode == "RGB"
    order = slice(None, None, -1) if job.artifact.preprocessing.colour == "bgr" else slice(None)
    assert (np.asarray(fed[-1]["image"]) == job.images()[-1][..., order]).all()


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
@pytest.mark.parametrize("channels_first", [True, False])
def test_arrays_are_passed_as_declared(build: Path, tmp_path: Path, dtype: str, *, channels_first: bool) -> None:
    import numpy as np

    from edgeferry.models.preprocessing import normalise

    job, labelled = _arrays(build, tmp_path, dtype, channels_first=channels_first)
    images = job.images()
    fed = [each["image"] for each in feeds(job, labelled)]
    expected = images[-1:] if dtype == "uint8" else normalise(images, job.artifact.preprocessing)[-1:]
    expected = expected.transpose(0, 3, 1, 2) if channels_first else expected
    assert fed[-1].dtype == ("float16" if dtype == "float16" else "float32")
    assert (fed[-1] == expected.astype(fed[-1].dtype)).all()
    assert np.shape(fed) == (len(images), *job.artifact.inputs[0].shape)


def test_predictions_become_scores_in_the_order_of_the_labels() -> None:
    labelled = Interface("image", "p", takes_image=True, labels=("b", "a"))
    assert labelled.scores([{"p": {"a": 0.25, "b": 0.75}}]).tolist() == [[0.75, 0.25]]
    plain = Interface("image", "p", takes_image=False, labels=None)
    assert plain.scores([{"p": [[0.25, 0.75]]}]).tolist() == [[0.25, 0.75]]


def _arrays(build: Path, tmp_path: Path, dtype: str, *, channels_first: bool) -> tuple[Job, Interface]:
    folder = tmp_path / "arrays"
    shutil.copytree(build / FORMAT, folder)
    artifact = read_artifact(folder)
    _, height, width, channels = artifact.inputs[0].shape
    shape = (1, channels, height, width) if channels_first else (1, height, width, channels)
    write_manifest(replace(artifact, inputs=(Tensor("image", shape, dtype),)), folder)
    job = Job(folder, build / "reference" / "pixels.npy", tmp_path / "work", warmup=1, rounds=4)
    return job, Interface("image", "scores", takes_image=False, labels=None)


class _StandIn:
    """A replacement of Core ML's model: it outputs 1 for the first class, and records its calls."""

    load_duration_in_nano_seconds, last_predict_duration_in_nano_seconds = 7_000_000, 2_000_000
    calls: Final[list[Any]] = []

    def __init__(self, path: str, *, compute_units: Any) -> None:
        self.calls[:] = [(path, compute_units.name)]

    def get_compiled_model_path(self) -> str:
        return "model.mlmodelc"

    def predict(self, data: dict[str, Any]) -> dict[str, Any]:
        self.calls.append(data)
        return {"classLabel_probs": {"red": 1.0, "blue": 0.0, "yellow": 0.0, "cyan": 0.0}, "classLabel": "red"}


@pytest.mark.skipif(HERE, reason="Core ML is here")
def test_a_run_compiles_once_and_times_loading_and_the_first_prediction_separately(
    build: Path, tmp_path: Path, ct: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ct.models, "MLModel", _StandIn)
    monkeypatch.setattr(coreml, "macos", lambda: (14, 1))
    job = _job(build, tmp_path)
    run = run_here(job, "CPU_AND_NE")
    assert _StandIn.calls[0] == (str(job.main_file), "CPU_AND_NE")
    assert len(_StandIn.calls) == 1 + 1 + len(job.images()) + job.warmup + job.rounds
    assert run.scores.tolist() == [[1, 0, 0, 0]] * len(job.images())
    assert (run.load_ms, run.environment["framework_ms"], len(run.latencies_ms)) == (7.0, 2.0, 5)
    assert run.environment["compute_plan"] == "unknown: needs macOS 14.4"
    assert run.environment["compute_units"] == "CPU_AND_NE"


@pytest.mark.skipif(HERE, reason="Core ML is here")
def test_a_package_that_core_ml_does_not_load_fails_with_its_reason(build: Path, ct: Any) -> None:
    assert ct
    with pytest.raises(
        EdgeError, match="This model was not loaded or compiled", check=lambda error: error.code == "EF-coreml-load"
    ):
        coreml.opened(build / FORMAT / "model.mlpackage", "ALL")


@pytest.mark.skipif(HERE, reason="this is a Mac")
def test_a_job_without_macos_is_unsupported(build: Path, tmp_path: Path) -> None:
    with pytest.raises(
        Unsupported,
        match="macOS 13 for ALL and specification 7; .* unknown",
        check=lambda error: error.code == "EF-macos-too-old",
    ):
        targets()["coreml-all"].run(_job(build, tmp_path))


def _record(kind: Any, **fields: Any) -> Any:
    """Return one of coremltools' records; other fields are None."""
    return kind(**{each.name: fields.get(each.name) for each in dataclasses.fields(kind)})


class _Plan:
    """A compute plan made of coremltools' own records; Core ML makes them only on a Mac."""

    def __init__(self, ct: Any, placed: dict[str, tuple[str, float] | None]) -> None:
        self._ct, self._placed, plan = ct, placed, ct.models.compute_plan
        calls = [_record(plan.MLModelStructureProgramOperation, operator_name=name, blocks=[]) for name in placed]
        block = _record(plan.MLModelStructureProgramBlock, operations=calls)
        main = _record(plan.MLModelStructureProgramFunction, block=block)
        program = plan.MLModelStructureProgram(functions={"main": main})
        self.model_structure = plan.MLModelStructure(neuralnetwork=None, program=program, pipeline=None)

    def get_compute_device_usage_for_mlprogram_operation(self, operation: Any) -> Any:
        placed = self._placed[operation.operator_name]
        if placed is None:
            return None
        cpu, device = self._device("CPU"), self._device(placed[0])
        return self._ct.models.compute_plan.MLComputePlanDeviceUsage(device, [cpu, device])

    def get_estimated_cost_for_mlprogram_operation(self, operation: Any) -> Any:
        placed = self._placed[operation.operator_name]
        return None if placed is None else self._ct.models.compute_plan.MLComputePlanCost(placed[1])

    def _device(self, kind: str) -> Any:
        return object.__new__(getattr(self._ct.models.compute_device, f"ML{kind}ComputeDevice"))


def test_a_plan_is_counted_by_device(ct: Any) -> None:
    plan = _Plan(ct, {"const": None, "conv": ("NeuralEngine", 0.5), "relu": ("NeuralEngine", 0.25), "cast": ("CPU", 0.25)})
    assert summary(plan) == {
        "operations": {"cpu": 1, "neural-engine": 2},
        "estimated_cost": {"cpu": 0.25, "neural-engine": 0.75},
        "neural_engine": 2,
        "neural_engine_could": 2,
        "elsewhere": {"cast": 1},
    }


@pytest.mark.skipif(HERE, reason="Core ML is here")
def test_a_plan_that_is_not_available_is_unknown() -> None:
    assert compute_plan(Path("model.mlmodelc"), "ALL", (14, 3)) == "unknown: needs macOS 14.4"
    assert compute_plan(Path("model.mlmodelc"), "ALL", (14, 4)) == "unknown: MLComputePlan is not supported."


def test_a_package_with_an_image_is_not_for_a_connected_device(build: Path, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="coreml-arrays", check=lambda error: error.code == "EF-coreml-arrays-only"):
        targets()["coreml-iphone"].run(_job(build, tmp_path))


def test_a_device_needs_a_team(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEFERRY_MAC", "me@mac")
    monkeypatch.delenv("EDGEFERRY_IOS_TEAM", raising=False)
    assert (targets()["coreml-iphone"].missing() or "").startswith("EDGEFERRY_IOS_TEAM is not set")
    monkeypatch.setenv("EDGEFERRY_IOS_TEAM", "ABCDE12345")
    assert targets()["coreml-iphone"].missing() is None


def test_no_connected_device_is_absent(ct: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    device = ct.models.ml_program.experimental.remote_device.Device
    monkeypatch.setattr(device, "get_connected_devices", staticmethod(lambda kind: []))
    with pytest.raises(Absent, check=lambda error: error.code == "EF-ios-device-absent"):
        coreml_iphone.connected()


def test_a_device_times_itself(build: Path, tmp_path: Path, ct: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    job, interface = _arrays(build, tmp_path, "float32", channels_first=False)
    fed = feeds(job, interface)
    predicted: list[Any] = []

    async def done(*_: Any) -> Any:
        return None

    async def predict(feed: Any) -> Any:
        predicted.append(feed)
        model.last_predict_duration_in_nano_seconds = len(predicted) * 1_000_000
        return {"scores": [[0.5, 0.5]]}

    async def plan() -> Any:
        return _Plan(ct, {"conv": ("NeuralEngine", 1.0)})

    async def prepare(**how: Any) -> Any:
        assert how["credentials"].development_team == "ABCDE12345"
        return "prepared"

    model = SimpleNamespace(
        load=done, unload=done, predict=predict, retrieve_compute_plan=plan, load_duration_in_nano_seconds=3_000_000
    )
    wrapper = ct.models.ml_program.experimental.async_wrapper.MLModelAsyncWrapper
    monkeypatch.setattr(wrapper, "from_spec_or_path", staticmethod(lambda **how: model if how["device"] == "prepared" else None))
    monkeypatch.setenv("EDGEFERRY_IOS_TEAM", "ABCDE12345")
    run = asyncio.run(coreml_iphone._predicted(job, fed, SimpleNamespace(prepare_for_model_debugging=prepare)))
    assert len(run.predictions) == 1 + len(fed) + job.warmup + job.rounds == len(run.predictions_ms)
    assert (run.predictions_ms[0], run.predictions_ms[1], run.load_ms) == (1.0, 2.0, 3.0)
    assert run.plan["neural_engine"] == 1  # type: ignore[index]


def test_the_ci_job_fails_where_a_unit_did_not_run(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed")
    if shutil.which("jq") is None:
        pytest.skip("no jq on this machine")
    jobs = yaml.safe_load(CI.read_text())["jobs"]
    steps = [step.get("run", "") for step in jobs["core-ml"]["steps"]]
    parity = next(step for step in steps if step.startswith("make parity"))
    listed = sorted(re.findall(r"--target (\S+?)[\s\"]", parity))
    assert listed == sorted([*UNITS, "coreml-reference"])
    check = next(step for step in steps if step.startswith("jq"))
    (tmp_path / "build" / "digits").mkdir(parents=True)
    for outcome, status in (("passed", 0), ("not run", 1)):
        rows = [{"format": FORMAT, "target": name, "verdict": {"outcome": "passed"}} for name in listed]
        rows[1]["verdict"] = {"outcome": outcome}
        (tmp_path / "build" / "digits" / "report.json").write_text(json.dumps({"rows": rows}))
        done = subprocess.run(["sh", "-c", check], cwd=tmp_path, capture_output=True, check=False)
        assert done.returncode == status, done.stderr
