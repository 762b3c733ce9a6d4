# SPDX-License-Identifier: Apache-2.0
import shutil
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import numpy as np
import onnx
import pytest

from edgeferry.models.artifact import files_of, read_artifact, write_manifest
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.endpoint import container_engine
from edgeferry.targets.endpoint.client import endpoint
from edgeferry.targets.endpoint.local import ADDRESS
from edgeferry.targets.endpoint.program import program
from edgeferry.targets.target import Absent, Job, Unsupported, targets

if TYPE_CHECKING:
    from numpy.typing import NDArray

FORMAT: Final = "container-float32"


@pytest.fixture
def job(build: Path, tmp_path: Path) -> Job:
    """Return a job for the colour classifier's container, one thread."""
    work = tmp_path / "work"
    work.mkdir()
    return Job(build / FORMAT, build / "reference" / "pixels.npy", work, warmup=1, rounds=5)


@pytest.fixture
def address(job: Job, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Return the address of a running endpoint of that classifier, which the environment names."""
    with program(job) as started:
        monkeypatch.setenv(ADDRESS, started.address)
        yield started.address


def test_it_predicts_like_the_keras_model(address: str, job: Job, scores: "NDArray[np.float32]") -> None:
    run = targets()["endpoint-url"].run(job)
    assert abs(run.scores - scores).max() < 1e-5
    assert run.labels == job.artifact.labels
    assert run.environment["address"] == address


def test_its_own_times_are_separate_from_those_of_requests(job: Job) -> None:
    run = targets()["endpoint"].run(job)
    recorded = run.environment
    assert len(run.latencies_ms) == 5
    assert 0 < np.median(run.latencies_ms) + recorded["before_ms"] + recorded["after_ms"] < recorded["request_ms"]
    assert recorded["serial_per_s"] > 0
    assert recorded["concurrent_per_s"] > 0
    assert run.load_ms < recorded["start_ms"]


def test_its_folder_stays_as_it_was_exported(job: Job) -> None:
    targets()["endpoint"].run(job)
    assert not list(job.folder.rglob("__pycache__"))


def test_nothing_is_left_running(job: Job) -> None:
    with program(job) as started:
        pass
    assert not endpoint(started.address, 1).is_ready()


def test_a_spoiled_file_is_seen_in_its_scores(job: Job, tmp_path: Path, scores: "NDArray[np.float32]") -> None:
    job = _spoiled(job, tmp_path)
    run = targets()["endpoint"].run(job)
    assert abs(run.scores - scores).max() > 0.5
    assert run.labels == tuple(reversed(job.artifact.labels))


def test_an_endpoint_that_serves_another_file_is_refused(address: str, job: Job, tmp_path: Path) -> None:
    with pytest.raises(
        EdgeError,
        match=rf"{address} serves colours [0-9a-f]{{12}}, the artifact is [0-9a-f]{{12}}",
        check=lambda error: error.code == "EF-endpoint-stale",
    ):
        targets()["endpoint-url"].run(_spoiled(job, tmp_path))


def test_an_endpoint_that_serves_another_classifier_is_refused(address: str, job: Job, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    shutil.copytree(job.folder, folder)
    (folder / "colours.onnx").rename(folder / "other.onnx")
    write_manifest(replace(read_artifact(folder), main_file="other.onnx", files=files_of(folder)), folder)
    with pytest.raises(EdgeError, match=f"{address} .* other", check=lambda error: error.code == "EF-endpoint-classifier"):
        targets()["endpoint-url"].run(replace(job, folder=folder))


def test_another_number_of_threads_is_not_measured(address: str, job: Job) -> None:
    with pytest.raises(
        Unsupported, match=f"{address} .*THREADS=1; expected 2", check=lambda error: error.code == "EF-endpoint-threads"
    ):
        targets()["endpoint-url"].run(replace(job, threads=2))


def test_the_program_computes_on_the_requested_threads(job: Job) -> None:
    assert targets()["endpoint"].run(replace(job, threads=2)).environment["threads"] == 2


def test_an_address_without_a_server_is_absent(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, "http://127.0.0.1:9")
    with pytest.raises(Absent, match=r"http://127\.0\.0\.1:9 ", check=lambda error: error.code == "EF-endpoint-unreachable"):
        targets()["endpoint-url"].run(job)


def test_an_invalid_address_is_refused(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, "127.0.0.1:8080")
    with pytest.raises(
        EdgeError, match=r"EDGEFERRY_ENDPOINT is '127\.0\.0\.1:8080'", check=lambda error: error.code == "EF-endpoint-address"
    ):
        targets()["endpoint-url"].run(job)


def test_another_server_there_is_reported(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from edgeferry.targets.web.page_server import page_server

    with page_server({"web": tmp_path}, largest_post=0) as server:
        monkeypatch.setenv(ADDRESS, server.address.rsplit("/", 2)[0])
        with pytest.raises(EdgeError, match="colours", check=lambda error: error.code == "EF-endpoint-classifier"):
            targets()["endpoint-url"].run(job)


class _Foreign(BaseHTTPRequestHandler):
    """A foreign server with a classifier of this name: no endpoint of edgeferry can be made to reply like it."""

    protocol_version = "HTTP/1.1"
    body: ClassVar[bytes]

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"name": "colours"}', "is not an endpoint of edgeferry: it reports"),
        (b"<html>", "/v2/models/colours is not a JSON object"),
        (b"[1]", "is not a JSON object"),
    ],
)
def test_a_foreign_server_is_reported(body: bytes, message: str, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Foreign, "body", body, raising=False)
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Foreign)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setenv(ADDRESS, f"http://127.0.0.1:{server.server_port}")
    try:
        with pytest.raises(EdgeError, match=message, check=lambda error: error.code == "EF-endpoint-foreign"):
            targets()["endpoint-url"].run(job)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_program_that_does_not_start_is_reported_with_its_last_line(job: Job, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(job.folder, folder)
    (folder / "colours.onnx").write_bytes(b"\x08")
    with pytest.raises(RuntimeError, match=r"status 1 .*: colours\.onnx: "):
        targets()["endpoint"].run(replace(job, folder=folder))


def test_an_engine_that_does_not_work_is_absent(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "docker"
    program.write_text("#!/bin/sh\necho 'Cannot connect to the Docker daemon' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv(container_engine.ENGINE, str(program))
    assert targets()["endpoint-container"].missing() is None
    with pytest.raises(
        Absent, match="`docker info`: Cannot connect to the Docker", check=lambda error: error.code == "EF-container-engine"
    ):
        targets()["endpoint-container"].run(job)


def test_a_named_engine_that_does_not_exist_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(container_engine.ENGINE, "no-such-engine")
    assert "EDGEFERRY_CONTAINER_ENGINE names no-such-engine" in str(targets()["endpoint-container"].missing())


@pytest.mark.slow
def test_a_container_predicts_like_the_keras_model(job: Job, scores: "NDArray[np.float32]") -> None:
    program = container_engine.engine_program()
    if program is None or subprocess.run([program, "info"], capture_output=True, check=False).returncode:
        pytest.skip("no container engine works here: install Docker or Podman")
    try:
        run = targets()["endpoint-container"].run(job)
    except EdgeError as error:
        pytest.skip(f"no image can be built here, {container_engine.BASE} may name a base image: {error}")
    assert abs(run.scores - scores).max() < 1e-5
    assert run.environment["engine"] in {"docker", "podman"}


def _spoiled(job: Job, tmp_path: Path) -> Job:
    """Return the job with labels reversed and all weights negated in its file, and its manifest updated."""
    folder = tmp_path / "spoiled"
    shutil.copytree(job.folder, folder)
    model: Any = onnx.load(folder / "colours.onnx")
    labels = next(entry for entry in model.metadata_props if entry.key == "labels")
    labels.value = str(list(reversed(job.artifact.labels))).replace("'", '"')
    for tensor in model.graph.initializer:
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(-values, tensor.name))
    onnx.save(model, folder / "colours.onnx")
    write_manifest(replace(read_artifact(folder), files=files_of(folder)), folder)
    return replace(job, folder=folder)
