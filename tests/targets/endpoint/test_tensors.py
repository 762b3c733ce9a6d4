# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.endpoint.open_inference import ADDRESS
from edgeferry.targets.endpoint.program import program
from edgeferry.targets.target import Absent, Job, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMAT: Final = "container-float32"


@pytest.fixture
def job(build: Path, tmp_path: Path) -> Job:
    """Return a job for the colour classifier's container, judged in batches too."""
    reference = build / "reference"
    return Job(build / FORMAT, reference / "pixels.npy", tmp_path / "work", warmup=1, rounds=3, reference=reference)


@pytest.mark.parametrize("target", ["endpoint-rest", "endpoint-grpc"])
def test_tensors_are_predicted_like_the_keras_model(target: str, job: Job, scores: "NDArray[np.float32]") -> None:
    run = targets()[target].run(job)
    assert abs(run.scores - scores).max() < 1e-5
    assert run.batched is not None
    assert len(run.latencies_ms) == 3


def test_any_server_of_the_protocol_is_checked(
    job: Job, build: Path, scores: "NDArray[np.float32]", monkeypatch: pytest.MonkeyPatch
) -> None:
    with program(job) as started:
        monkeypatch.setenv(ADDRESS, f"{started.address}/v2/models/colours")
        run = targets()["open-inference-url"].run(replace(job, folder=build / "onnx-float32"))
        monkeypatch.setenv(ADDRESS, f"{started.address}/v2/models/other")
        with pytest.raises(EdgeError, match="status 404", check=lambda error: error.code == "EF-endpoint-protocol"):
            targets()["open-inference-url"].run(job)
    assert abs(run.scores - scores).max() < 1e-5
    assert run.environment["runtime"] == "edgeferry"


def test_a_server_that_is_not_there_is_absent(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, "http://127.0.0.1:9/v2/models/colours")
    with pytest.raises(Absent, match="cannot be reached"):
        targets()["open-inference-url"].run(job)
