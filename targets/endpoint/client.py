# SPDX-License-Identifier: Apache-2.0
"""A job put to an HTTP endpoint that is running: golden images as PNG files, the way a user's images go.

The endpoint times itself and tells it in ``Server-Timing``, so that no network is ever in a latency; what a whole request took
is told apart.
"""

import io
import re
import statistics
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.system.cores import cores_allowed
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.target import Absent, Job, Run, Unsupported
from edgeferry.targets.timing import timed, warm_up

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from urllib3 import BaseHTTPResponse, PoolManager

    from edgeferry.models.preprocessing import Preprocessing

TIMEOUT_S: Final = 60.0
# How many classes a user asks for: all of them are asked for where the answer is judged, and make a larger one.
TOP: Final = 5
# A metric of https://www.w3.org/TR/server-timing/ as the endpoint writes it, and those that it tells.
METRIC: Final = re.compile(r"(\w+);dur=([\d.]+)")
TOLD: Final = {"preprocess", "inference", "postprocess"}


@dataclass(frozen=True)
class _Reply:
    """The probability of every class by its number; milliseconds by what they went into; and of the whole request."""

    probabilities: Mapping[int, float]
    took_ms: Mapping[str, float]
    request_ms: float


@dataclass(frozen=True)
class Endpoint:
    """An endpoint that is running at an address, ``http://host:port``."""

    address: str
    pool: "PoolManager"

    def is_ready(self) -> bool:
        """Say whether it answers yet."""
        from urllib3.exceptions import HTTPError

        try:
            return self.pool.request("GET", f"{self.address}/v2/health/ready").status == 200
        except HTTPError:
            return False

    def about(self, job: Job) -> dict[str, Any]:
        """Return what it says of the classifier that it serves.

        Raises:
            Absent: nothing answers there.
            EdgeError: it serves another classifier than the job's, or another file.
            Unsupported: it computes on another number of threads.
        """
        name = job.main_file.stem
        told = self._told(f"/v2/models/{name}", 404)
        if told is None:
            raise EdgeError(f"{self.address} serves no classifier {name}; start it with {job.folder}")
        facts: dict[str, Any] = told.get("parameters", {})
        if not {"sha256", "labels", "threads", "load_ms"} <= set(facts):
            raise EdgeError(f"{self.address} tells of {name}, but is no endpoint of edgeferry's: it names no file and no labels")
        expected = job.artifact.files[job.artifact.main_file]["sha256"]
        if facts["sha256"] != expected:
            other = f"{name} {facts['sha256'][:12]}, the artifact is {expected[:12]}"
            raise EdgeError(f"{self.address} serves {other}: build and start it anew")
        if facts["threads"] != job.threads:
            raise Unsupported(f"{self.address} computes with THREADS={facts['threads']}; {job.threads} asked for: set it there")
        return facts

    def runtime(self) -> tuple[str, str]:
        """Return the name and version of what computes there."""
        name, _, version = str((self._told("/v2") or {}).get("version")).partition(" ")
        return name, version

    def classify(self, image: bytes, classes: int) -> _Reply:
        """Return the answer to an image file, of its so many most probable classes.

        Raises:
            EdgeError: it does not tell its times.
        """
        request_ms, answer = timed(lambda: self._request("POST", f"/classify?top={classes}", image))
        took_ms = {what: float(took) for what, took in METRIC.findall(answer.headers.get("Server-Timing", ""))}
        if not set(took_ms) >= TOLD:
            raise EdgeError(f"{self.address} does not tell its times: let what stands before it pass Server-Timing on")
        return _Reply({each["class"]: each["probability"] for each in answer.json()["classes"]}, took_ms, request_ms)

    def _told(self, path: str, *but: int) -> dict[str, Any] | None:
        """Return the JSON at a path, or None where it is answered with one of the statuses of ``but``."""
        answer = self._request("GET", path, but=but)
        if answer.status in but:
            return None
        try:
            return dict(answer.json())
        except (TypeError, ValueError):
            raise EdgeError(f"{self.address}{path} is answered with something else than JSON: another server is there") from None

    def _request(self, method: str, path: str, body: bytes | None = None, but: tuple[int, ...] = ()) -> "BaseHTTPResponse":
        from urllib3.exceptions import HTTPError

        try:
            answer = self.pool.request(method, f"{self.address}{path}", body=body)
        except HTTPError as error:
            raise Absent(f"{self.address} does not answer: {error}") from None
        if answer.status not in {200, *but}:
            said = answer.data[:200].decode(errors="replace")
            raise RuntimeError(f"{method} {path} was answered with status {answer.status}: {said}")
        return answer


def endpoint(address: str, workers: int) -> Endpoint:
    """Return the endpoint at an address, asked over at most so many connections, which are kept."""
    from urllib3 import PoolManager, Timeout

    return Endpoint(address.rstrip("/"), PoolManager(maxsize=workers, block=True, retries=False, timeout=Timeout(TIMEOUT_S)))


def ask(job: Job, address: str) -> Run:
    """Return the run of a job by the endpoint at an address; all images are asked at once, as far as its cores go.

    Raises:
        Absent: nothing answers there.
        EdgeError: it serves another classifier, or another file.
        Unsupported: it computes on another number of threads.
    """
    workers = max(1, cores_allowed() // job.threads)
    asked, labels = endpoint(address, workers), job.artifact.labels
    facts, (name, version) = asked.about(job), asked.runtime()
    images = [_png(pixels, job.artifact.preprocessing) for pixels in job.images()]
    first = asked.classify(images[0], len(labels))

    def one() -> _Reply:
        return asked.classify(images[0], min(TOP, len(labels)))

    with ThreadPoolExecutor(workers) as pool:
        replies = list(pool.map(lambda image: asked.classify(image, len(labels)), images))
        timed_replies = _timed(one, job)
        at_once_ms, _ = timed(lambda: list(pool.map(lambda _: one(), range(job.rounds * workers))))
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
            "concurrent_per_s": 1000 * job.rounds * workers / at_once_ms,
        },
    )


def _timed(call: Callable[[], _Reply], job: Job) -> list[_Reply]:
    """Return the replies to one image, asked one after another once it is warm."""
    for _ in range(job.warmup):
        call()
    if job.settle_s:
        warm_up(call, job.settle_s)
    return [call() for _ in range(job.rounds)]


def _about_requests(replies: Sequence[_Reply]) -> dict[str, float]:
    """Return what requests one after another took, and what of it stands before and after inference."""
    return {
        "request_ms": statistics.median(reply.request_ms for reply in replies),
        "before_ms": statistics.median(reply.took_ms["preprocess"] for reply in replies),
        "after_ms": statistics.median(reply.took_ms["postprocess"] for reply in replies),
        "serial_per_s": 1000 / statistics.fmean(reply.request_ms for reply in replies),
    }


def _scores(replies: list[_Reply], classes: int) -> "NDArray[np.float32]":
    """Return [count, classes]; a class that was not told is NaN, which is judged as wrong."""
    import numpy as np

    return np.array([[reply.probabilities.get(at, np.nan) for at in range(classes)] for reply in replies], np.float32)


def _png(pixels: "NDArray[np.uint8]", how: "Preprocessing") -> bytes:
    """Return the contract's pixels as the PNG file of an image that they are what becomes of."""
    import numpy as np
    from PIL import Image

    shown = pixels[..., 0] if how.colour == "gray" else pixels[..., ::-1] if how.colour == "bgr" else pixels
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(shown)).save(file, "PNG", compress_level=1)
    return file.getvalue()
