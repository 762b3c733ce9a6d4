# SPDX-License-Identifier: Apache-2.0
"""The HTTP endpoint of a container: its program run on this machine, the container itself, or an endpoint at an address."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.packages import versions_of
from edgeferry.targets.endpoint.client import run_on_endpoint
from edgeferry.targets.endpoint.container_engine import ContainerEngine, engine_program, missing_engine
from edgeferry.targets.host.installed import file_identity, needs, versions
from edgeferry.targets.host.program import NOT_PASSED_ON
from edgeferry.targets.target import Job, Run, Target

# Where an endpoint is already running.
ADDRESS: Final = "EDGEFERRY_ENDPOINT"
PROGRAM: Final = "edgeferry.exporters.endpoint"
# Variables that would make the program differ from the container's Dockerfile, or load other modules than its own.
SETTINGS: Final = ("MOST_BYTES", "PYTHONSAFEPATH", "WORKERS")
START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 10.0


def _missing() -> str | None:
    return next(filter(None, (needs(module)() for module in ("onnxruntime", "starlette", "uvicorn", "urllib3"))), None)


def _missing_engine() -> str | None:
    return missing_engine() or needs("urllib3")()


def _missing_address() -> str | None:
    if not os.environ.get(ADDRESS):
        return (
            f"{ADDRESS} is not set: set it to an address such as http://127.0.0.1:8080; where Docker is installed, "
            "`docker build` and `docker run` start an endpoint from the folder of container-float32"
        )
    return needs("urllib3")()


def _run_program(job: Job) -> Run:
    with _program(job) as (address, start_ms):
        return _with(run_on_endpoint(job, address), start_ms=start_ms)


def _run_container(job: Job) -> Run:
    engine = ContainerEngine(engine_program() or "docker")
    image = engine.build(job)
    with engine.started(image, job) as (address, start_ms):
        return _with(run_on_endpoint(job, address), start_ms=start_ms, engine=engine.name, image=image)


def _run_address(job: Job) -> Run:
    address = os.environ[ADDRESS]
    if not address.startswith(("http://", "https://")):
        raise EdgeError("EF-endpoint-address", f"{ADDRESS} is {address!r}; expected an address such as http://127.0.0.1:8080")
    return _with(run_on_endpoint(job, address), address=address)


def _with(run: Run, **facts: object) -> Run:
    return replace(run, environment={**run.environment, **facts})


@contextmanager
def _program(job: Job) -> Iterator[tuple[str, float]]:
    """Yield the address of the artifact's own program, run in its folder, and the milliseconds until it was ready.

    Raises:
        RuntimeError: it ended before it was ready, or took too long; the message ends in its last line.
    """
    start, output = time.perf_counter(), job.work / "server.log"
    job.work.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name not in {*NOT_PASSED_ON, *SETTINGS}}
    # The folder stays as it was exported.
    environment |= {"HOST": "127.0.0.1", "PORT": "0", "THREADS": str(job.threads), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", PROGRAM, job.main_file.name]
    with (
        output.open("wb") as log,
        subprocess.Popen(  # noqa: S603 - the artifact's own program, with its own file as argument
            command, cwd=job.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        late = threading.Timer(START_TIMEOUT_S, process.kill)
        late.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
            late.cancel()
            if not line:
                lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it printed nothing"]
                raise RuntimeError(f"its program exited with status {process.wait()} before it was ready: {lines[-1]}")
            yield line.split()[-1], (time.perf_counter() - start) * 1000
        finally:
            late.cancel()
            _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()


READS: Final = frozenset({"container"})
TARGETS = (
    Target(
        name="endpoint",
        summary="the container's HTTP endpoint: its program, run on this machine",
        reads=READS,
        missing=_missing,
        run=_run_program,
        versions=versions("onnxruntime", "starlette", "uvicorn", "pillow", "numpy", "urllib3"),
    ),
    Target(
        name="endpoint-container",
        summary="the same in its container, built and run by Docker or Podman",
        reads=READS,
        missing=_missing_engine,
        run=_run_container,
        versions=lambda: {**versions_of("urllib3"), "engine": file_identity(engine_program())},
        # A build downloads its base image and the program's packages.
        by_default=False,
        downloads=True,
    ),
    Target(
        name="endpoint-url",
        summary=f"a running endpoint, at the address in {ADDRESS}",
        reads=READS,
        missing=_missing_address,
        run=_run_address,
        # The endpoint may be replaced at any time: no earlier result is reused.
        versions=lambda: {**versions_of("urllib3"), ADDRESS: os.environ.get(ADDRESS, ""), "time": str(time.time_ns())},
        by_default=False,
    ),
)
