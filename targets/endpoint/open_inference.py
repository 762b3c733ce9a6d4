# SPDX-License-Identifier: Apache-2.0
"""Any server of the Open Inference Protocol, such as Triton or KServe, that serves the ONNX file; labels are the config's."""

import os
import time
from typing import Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.packages import versions_of
from edgeferry.targets.endpoint.tensors import RestModel, run_tensors
from edgeferry.targets.host.installed import needs
from edgeferry.targets.target import Job, Run, Target

# Where a server runs the model: http://host:8000/v2/models/digits
ADDRESS: Final = "EDGEFERRY_OPEN_INFERENCE"


def _missing() -> str | None:
    if not os.environ.get(ADDRESS):
        return (
            f"{ADDRESS} is not set: set it to a model's address, such as http://127.0.0.1:8000/v2/models/digits, where "
            "Triton, KServe or another such server is installed and serves onnx-float32"
        )
    return needs("urllib3")()


def _run(job: Job) -> Run:
    address = os.environ[ADDRESS]
    if not address.startswith(("http://", "https://")) or "/v2/models/" not in address:
        raise EdgeError("EF-endpoint-address", f"{ADDRESS} is {address!r}; expected http://host:8000/v2/models/NAME")
    model = RestModel(address)
    name, (server, version) = model.input(), model.server()
    about = {"runtime": server, "version": version, "threads": None, "address": address}
    # Scores are the artifact's own outputs, whatever they are.
    return run_tensors(job, lambda images: model.infer(name, images), "probabilities", about)


TARGETS = (
    Target(
        name="open-inference-url",
        summary=f"any server of the Open Inference Protocol, at the model's address in {ADDRESS}",
        reads=frozenset({"onnx"}),
        missing=_missing,
        run=_run,
        # The server may serve another file at any time: no earlier result is reused.
        versions=lambda: {**versions_of("urllib3"), ADDRESS: os.environ.get(ADDRESS, ""), "time": str(time.time_ns())},
        by_default=False,
    ),
)
