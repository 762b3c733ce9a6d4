# SPDX-License-Identifier: Apache-2.0
"""The HTTP endpoint of a container: its program run on this machine, the container itself, or an endpoint at an address."""

import os
import time
from dataclasses import replace
from typing import Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.packages import versions_of
from edgeferry.targets.endpoint.client import run_on_endpoint
from edgeferry.targets.endpoint.container_engine import ContainerEngine, engine_program, missing_engine
from edgeferry.targets.endpoint.program import VERSIONS, missing_program, program
from edgeferry.targets.host.installed import file_identity, needs, versions
from edgeferry.targets.target import Job, Run, Target

# Where an endpoint is already running.
ADDRESS: Final = "EDGEFERRY_ENDPOINT"


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
    with program(job) as started:
        return _with(run_on_endpoint(job, started.address), start_ms=started.start_ms)


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


READS: Final = frozenset({"container"})
TARGETS = (
    Target(
        name="endpoint",
        summary="the container's HTTP endpoint: its program, run on this machine",
        reads=READS,
        missing=missing_program,
        run=_run_program,
        versions=versions(*VERSIONS),
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
