# SPDX-License-Identifier: Apache-2.0
"""A job run by any server of the Open Inference Protocol: normalised tensors, as bytes over REST or gRPC.

What is timed is a whole request, since servers report no times in the protocol; the machine in between counts too.
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.decision import probabilities_of
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Absent, BatchedScores, Job, Run
from edgeferry.targets.timing import batches_of, timed

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from urllib3 import BaseHTTPResponse

    Infer = Callable[[NDArray[np.float32]], NDArray[np.float32]]

HEADER_LENGTH: Final = "Inference-Header-Content-Length"
DATATYPE: Final = "FP32"
TIMEOUT_S: Final = 60.0


def run_tensors(job: Job, infer: "Infer", output: str, facts: Mapping[str, Any]) -> Run:
    """Return the run of a job by a function of normalised images, [count, height, width, channels], to outputs.

    ``output`` is what the outputs are, as in a manifest; ``facts`` become the run's environment;
    ``load_ms`` among them is its field too.
    """
    import numpy as np

    images, how = job.images(), job.artifact.preprocessing
    one = normalise(images[:1], how)
    first_ms, _ = timed(lambda: infer(one))
    scores = np.concatenate([infer(normalise(images[at : at + 1], how)) for at in range(len(images))])
    for _ in range(job.warmup):
        infer(one)
    latencies = tuple(timed(lambda: infer(one))[0] for _ in range(job.rounds))
    batches = batches_of(job)
    batched = None
    if batches:
        rows = np.concatenate([infer(normalise(images[batch], how)) for batch in batches])
        batched = BatchedScores(tuple(map(tuple, batches)), probabilities_of(rows, output))
    return Run(
        scores=probabilities_of(scores, output),
        labels=None,
        latencies_ms=latencies,
        first_ms=first_ms,
        load_ms=facts.get("load_ms", 0.0),
        environment={"timed": "whole requests", **facts},
        batched=batched,
    )


class RestModel:
    """A model of a server, at an address such as ``http://host:8000/v2/models/digits``."""

    def __init__(self, address: str) -> None:
        """Take the address."""
        from urllib3 import PoolManager, Timeout

        self.address = address.rstrip("/")
        self._pool: PoolManager = PoolManager(retries=False, timeout=Timeout(TIMEOUT_S))

    def input(self) -> str:
        """Return the name of its one input.

        Raises:
            Absent: it cannot be reached.
            EdgeError: it is not a model with one input of float32.
        """
        response = self._request("GET", "")
        try:
            (described,) = response.json()["inputs"]
            if described["datatype"] == DATATYPE:
                return str(described["name"])
        except (KeyError, TypeError, ValueError):
            pass
        text = response.data[:200].decode(errors="replace")
        raise EdgeError(
            "EF-endpoint-protocol", f"{self.address} returned {text!r}; expected a model with one input of {DATATYPE}."
        )

    def server(self) -> tuple[str, str]:
        """Return the server's name and version."""
        described = self._request("GET", "", self.address.partition("/v2/")[0] + "/v2").json()
        return str(described.get("name")), str(described.get("version"))

    def infer(self, name: str, images: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Return the outputs of images, sent and received as bytes."""
        import numpy as np

        about = {"name": name, "datatype": DATATYPE, "shape": images.shape, "parameters": {"binary_data_size": images.nbytes}}
        head = json.dumps({"inputs": [about], "parameters": {"binary_data_output": True}}).encode()
        headers = {HEADER_LENGTH: str(len(head)), "Content-Type": "application/octet-stream"}
        response = self._request("POST", "/infer", body=head + images.astype("<f4").tobytes(), headers=headers)
        length = int(response.headers.get(HEADER_LENGTH, len(response.data)))
        (output,) = json.loads(response.data[:length])["outputs"]
        data = np.frombuffer(response.data[length:], "<f4") if "data" not in output else np.array(output["data"], np.float32)
        return data.reshape(output["shape"]).astype(np.float32)

    def _request(self, method: str, path: str, address: str = "", **how: Any) -> "BaseHTTPResponse":
        from urllib3.exceptions import HTTPError

        try:
            response = self._pool.request(method, f"{address or self.address}{path}", **how)
        except HTTPError as error:
            raise Absent("EF-endpoint-unreachable", f"{self.address} cannot be reached: {error}") from None
        if response.status != 200:
            text = response.data[:200].decode(errors="replace")
            raise EdgeError("EF-endpoint-protocol", f"{method} {self.address}{path} returned status {response.status}: {text}")
        return response
