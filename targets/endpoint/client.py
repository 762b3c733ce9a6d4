# SPDX-License-Identifier: Apache-2.0
"""A job run by an HTTP endpoint: golden images are sent as PNG files, and the reference's files to upload as they are.

The endpoint times itself and reports it in ``Server-Timing``, so that no latency includes the network; the time of a whole
request is recorded separately.
"""

import io
import json
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.decision import probabilities_of
from edgeferry.models.golden.uploads import files_in
from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.cores import cores_allowed
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Absent, BatchedScores, Job, Run, Unsupported
from edgeferry.targets.timing import BATCHES, LEAST_BATCH, batches_of, timed, warm_up

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from urllib3 import BaseHTTPResponse, PoolManager

    from edgeferry.models.preprocessing import Preprocessing

TIMEOUT_S: Final = 60.0
# How many classes a user requests; where the scores are judged, all are requested, which makes the reply larger.
TOP: Final = 5
# How many numbers of a batch are sent, each some 20 bytes of JSON: two images of 224 x 224 pixels in colour.
MOST_NUMBERS: Final = 320_000
# A metric of https://www.w3.org/TR/server-timing/ as the endpoint writes it, and the metrics that it reports.
METRIC: Final = re.compile(r"(\w+);dur=([\d.]+)")
METRICS: Final = {"preprocess", "inference", "postprocess"}


@dataclass(frozen=True)
class _Reply:
    """The probability of every class by its number; the milliseconds of each stage, and of the whole request."""

    probabilities: Mapping[int, float]
    took_ms: Mapping[str, float]
    request_ms: float


@dataclass(frozen=True)
class Endpoint:
    """A running endpoint at an address, ``http://host:port``."""

    address: str
    pool: "PoolManager"

    def is_ready(self) -> bool:
        """Return whether it is ready."""
        from urllib3.exceptions import HTTPError

        try:
            return self.pool.request("GET", f"{self.address}/v2/health/ready").status == 200
        except HTTPError:
            return False

    def about(self, job: Job) -> dict[str, Any]:
        """Return its description of the classifier that it serves.

        Raises:
            Absent: it cannot be reached.
            EdgeError: it serves another classifier than the job's, or another file.
            Unsupported: it computes on another number of threads.
        """
        name = job.main_file.stem
        described = self._json(f"/v2/models/{name}", 404)
        if described is None:
            raise EdgeError("EF-endpoint-classifier", f"{self.address} serves no classifier {name}; start it from {job.folder}")
        facts: dict[str, Any] = described.get("parameters", {})
        if not {"sha256", "labels", "threads", "load_ms"} <= set(facts):
            raise EdgeError(
                "EF-endpoint-foreign",
                f"{self.address} serves {name}, but is not an endpoint of edgeferry: it reports no file and no labels",
            )
        expected = job.artifact.files[job.artifact.main_file]["sha256"]
        if facts["sha256"] != expected:
            other = f"{name} {facts['sha256'][:12]}, the artifact is {expected[:12]}"
            raise EdgeError("EF-endpoint-stale", f"{self.address} serves {other}: build and start it again")
        if facts["threads"] != job.threads:
            raise Unsupported(
                "EF-endpoint-threads",
                f"{self.address} computes with THREADS={facts['threads']}; expected {job.threads}: set it there",
            )
        return facts

    def runtime(self) -> tuple[str, str]:
        """Return the name and version of the runtime there."""
        name, _, version = str((self._json("/v2") or {}).get("version")).partition(" ")
        return name, version

    def classify(self, image: bytes, classes: int) -> _Reply:
        """Return the reply to an image file, with its ``classes`` most probable classes.

        Raises:
            EdgeError: it does not report its times.
        """
        request_ms, response = timed(lambda: self._request("POST", f"/classify?top={classes}", image))
        took_ms = {what: float(took) for what, took in METRIC.findall(response.headers.get("Server-Timing", ""))}
        if not set(took_ms) >= METRICS:
            raise EdgeError(
                "EF-endpoint-timing", f"{self.address} reports no times: make the proxy in front of it pass on Server-Timing"
            )
        return _Reply({each["class"]: each["probability"] for each in response.json()["classes"]}, took_ms, request_ms)

    def infer(self, name: str, images: "NDArray[np.float32]") -> "NDArray[np.float32]":
        """Return the classifier's outputs for normalised images in one batch, by the Open Inference Protocol."""
        import numpy as np

        described = self._json(f"/v2/models/{name}") or {}
        tensor = {
            "name": described["inputs"][0]["name"],
            "datatype": "FP32",
            "shape": images.shape,
            "data": images.ravel().tolist(),
        }
        response = self._request("POST", f"/v2/models/{name}/infer", json.dumps({"inputs": [tensor]}).encode())
        (output,) = response.json()["outputs"]
        return np.array(output["data"], np.float32).reshape(output["shape"])

    def _json(self, path: str, *but: int) -> dict[str, Any] | None:
        """Return the JSON at a path, or None where the status is one of ``but``."""
        response = self._request("GET", path, but=but)
        if response.status in but:
            return None
        try:
            return dict(response.json())
        except (TypeError, ValueError):
            raise EdgeError(
                "EF-endpoint-foreign", f"{self.address}{path} is not a JSON object: it is not an endpoint of edgeferry"
            ) from None

    def _request(self, method: str, path: str, body: bytes | None = None, but: tuple[int, ...] = ()) -> "BaseHTTPResponse":
        from urllib3.exceptions import HTTPError

        try:
            response = self.pool.request(method, f"{self.address}{path}", body=body)
        except HTTPError as error:
            raise Absent("EF-endpoint-unreachable", f"{self.address} cannot be reached: {error}") from None
        if response.status not in {200, *but}:
            text = response.data[:200].decode(errors="replace")
            raise RuntimeError(f"{method} {path} returned status {response.status}: {text}")
        return response


def endpoint(address: str, workers: int) -> Endpoint:
    """Return the endpoint at an address, used over at most ``workers`` connections, which are kept open."""
    from urllib3 import PoolManager, Timeout

    return Endpoint(address.rstrip("/"), PoolManager(maxsize=workers, block=True, retries=False, timeout=Timeout(TIMEOUT_S)))


def png_of(pixels: "NDArray[np.uint8]", how: "Preprocessing") -> bytes:
    """Return a PNG file of an image that preprocessing turns into these pixels."""
    import numpy as np
    from PIL import Image

    shown = pixels[..., 0] if how.colour == "gray" else pixels[..., ::-1] if how.colour == "bgr" else pixels
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, "PNG", compress_level=1)
    return file.getvalue()


def run_on_endpoint(job: Job, address: str) -> Run:
    """Return the run of a job by the endpoint at an address; images are sent concurrently, as many as there are cores.

    Raises:
        Absent: it cannot be reached.
        EdgeError: it serves another classifier, or another file.
        Unsupported: it computes on another number of threads.
    """
    workers = max(1, cores_allowed() // job.threads)
    served, labels = endpoint(address, workers), job.artifact.labels
    facts, (name, version) = served.about(job), served.runtime()
    images = [png_of(pixels, job.artifact.preprocessing) for pixels in job.images()]
    first = served.classify(images[0], len(labels))

    def one() -> _Reply:
        return served.classify(images[0], min(TOP, len(labels)))

    with ThreadPoolExecutor(workers) as pool:
        replies = list(pool.map(lambda image: served.classify(image, len(labels)), images))
        uploaded = list(pool.map(lambda file: _reply_to(served, file, len(labels)), files_in(job.reference)))
        timed_replies = _timed(one, job)
        concurrent_ms, _ = timed(lambda: list(pool.map(lambda _: one(), range(job.rounds * workers))))
    return Run(
        scores=_scores(replies, len(labels)),
        labels=tuple(facts["labels"]),
        latencies_ms=tuple(reply.took_ms["inference"] for reply in timed_replies),
        first_ms=first.took_ms["inference"],
        load_ms=facts["load_ms"],
        environment={
            "runtime": name,
            "version": version,
            "threads": facts["threads"],
            **_about_requests(timed_replies),
            "workers": workers,
            "concurrent_per_s": 1000 * job.rounds * workers / concurrent_ms,
        },
        batched=_batched(served, job, str(facts.get("output"))),
        uploads=_scores(uploaded, len(labels)) if uploaded else None,
    )


def _reply_to(served: Endpoint, file: Path, classes: int) -> _Reply:
    """Return the reply to an image file, one without probabilities where it was refused."""
    try:
        return served.classify(file.read_bytes(), classes)
    except RuntimeError:
        return _Reply({}, {}, 0.0)


def _batched(served: Endpoint, job: Job, output: str) -> BatchedScores | None:
    """Return the probabilities of images sent in batches; fewer of large images, which are text in the request."""
    import numpy as np

    how = job.artifact.preprocessing
    fitting = MOST_NUMBERS // (how.height * how.width * how.channels)
    sizes = BATCHES if fitting >= sum(BATCHES) else (max(fitting, LEAST_BATCH),)
    batches, images = batches_of(job, sizes), job.images()
    if not batches:
        return None
    scores = np.concatenate([served.infer(job.main_file.stem, normalise(images[batch], how)) for batch in batches])
    return BatchedScores(tuple(map(tuple, batches)), probabilities_of(scores, output))


def _timed(call: Callable[[], _Reply], job: Job) -> list[_Reply]:
    """Return the replies to one image, sent one after another after warm-up."""
    for _ in range(job.warmup):
        call()
    if job.settle_s:
        warm_up(call, job.settle_s)
    return [call() for _ in range(job.rounds)]


def _about_requests(replies: Sequence[_Reply]) -> dict[str, float]:
    """Return the times of serial requests, and the parts before and after inference."""
    return {
        "request_ms": statistics.median(reply.request_ms for reply in replies),
        "before_ms": statistics.median(reply.took_ms["preprocess"] for reply in replies),
        "after_ms": statistics.median(reply.took_ms["postprocess"] for reply in replies),
        "serial_per_s": 1000 / statistics.fmean(reply.request_ms for reply in replies),
    }


def _scores(replies: list[_Reply], classes: int) -> "NDArray[np.float32]":
    """Return [count, classes]; a class that is not in the reply is NaN, which is judged as wrong."""
    import numpy as np

    return np.array([[reply.probabilities.get(at, np.nan) for at in range(classes)] for reply in replies], np.float32)
