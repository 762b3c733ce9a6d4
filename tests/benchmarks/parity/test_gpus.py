# SPDX-License-Identifier: Apache-2.0
from types import SimpleNamespace
from typing import Any, Final

import pytest

from edgeferry.benchmarks.parity.gpus import MOST_S, SoftwareGpus
from edgeferry.models.artifact import read_artifact
from edgeferry.targets.target import targets

ON_SOFTWARE: Final = {"software_gpu": True}


@pytest.fixture
def gpus(exported_digits: Any) -> Any:
    artifacts = {name: read_artifact(exported_digits.build / name) for name in ("tfjs-float32", "tfjs-uint8", "tflite-int8")}
    return SimpleNamespace(
        found=SoftwareGpus(exported_digits.build),
        webgl=targets()["chromium-webgl"],
        **{name.replace("-", "_"): artifact for name, artifact in artifacts.items()},
    )


def test_the_first_format_runs(gpus: Any) -> None:
    assert gpus.found.why_not(gpus.webgl, gpus.tfjs_float32) is None


def test_the_same_operations_with_other_weights_run_once_on_a_software_renderer(gpus: Any) -> None:
    gpus.found.record(gpus.webgl, gpus.tfjs_float32, ON_SOFTWARE)
    spared = gpus.found.why_not(gpus.webgl, gpus.tfjs_uint8)
    assert spared.outcome == "not run"
    assert "tfjs-float32" in spared.reason
    assert "--target chromium-webgl" in spared.reason


def test_a_real_gpu_is_spared_nothing(gpus: Any) -> None:
    gpus.found.record(gpus.webgl, gpus.tfjs_float32, {"software_gpu": False})
    assert gpus.found.why_not(gpus.webgl, gpus.tfjs_uint8) is None


def test_other_operations_run_as_long_as_there_is_time(gpus: Any) -> None:
    gpus.found.record(gpus.webgl, gpus.tfjs_float32, ON_SOFTWARE, MOST_S - 1)
    assert gpus.found.why_not(gpus.webgl, gpus.tflite_int8) is None
    gpus.found.record(gpus.webgl, gpus.tfjs_float32, ON_SOFTWARE, 2)
    assert gpus.found.why_not(gpus.webgl, gpus.tflite_int8).outcome == "not run"
