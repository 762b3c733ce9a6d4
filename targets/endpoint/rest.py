# SPDX-License-Identifier: Apache-2.0
"""The container's program here, sent tensors as bytes over REST, as `tritonclient` and KServe's client send them."""

from typing import Final

from edgeferry.targets.endpoint.client import endpoint
from edgeferry.targets.endpoint.program import VERSIONS, missing_program, program
from edgeferry.targets.endpoint.tensors import RestModel, run_tensors
from edgeferry.targets.host.installed import versions
from edgeferry.targets.target import Job, Run, Target

# What the program says of itself that belongs to a run.
KNOWN: Final = ("threads", "load_ms")


def _run(job: Job) -> Run:
    with program(job) as started:
        facts = endpoint(started.address, 1).about(job)
        model = RestModel(f"{started.address}/v2/models/{job.main_file.stem}")
        name, (server, version) = model.input(), model.server()
        about = {"runtime": server, "version": version, "start_ms": started.start_ms, **{each: facts[each] for each in KNOWN}}
        return run_tensors(job, lambda images: model.infer(name, images), str(facts["output"]), about)


TARGETS = (
    Target(
        name="endpoint-rest",
        summary="the container's program, run on this machine and sent tensors as bytes over REST",
        reads=frozenset({"container"}),
        missing=missing_program,
        run=_run,
        versions=versions(*VERSIONS),
        by_default=False,
    ),
)
