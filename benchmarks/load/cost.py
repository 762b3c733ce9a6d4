# SPDX-License-Identifier: Apache-2.0
"""The CPU time of a request to the endpoint's program, next to that of the same inference by ONNX Runtime alone."""

import json
import re
import socket
import statistics
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from edgeferry.models.preprocessing import normalise
from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.endpoint.client import png_of
from edgeferry.targets.endpoint.program import Program
from edgeferry.targets.endpoint.tensors import HEADER_LENGTH, RestModel
from edgeferry.targets.target import Job

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REQUESTS: Final = 1000
BLOCKS: Final = 5
WARM_UP: Final = 100
LENGTH: Final = re.compile(rb"content-length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Cost:
    """Milliseconds of CPU and of wall time of one request, medians of blocks, and how many requests there were."""

    name: str
    cpu_ms: float
    wall_ms: float
    requests: int


def costs(job: Job, started: Program) -> tuple[Cost, ...]:
    """Return the cost of the runtime alone, and of requests by bytes, by JSON and with an image file, one after another."""
    import psutil

    images = normalise(job.images()[:1], job.artifact.preprocessing)
    path, process = f"/v2/models/{job.main_file.stem}", psutil.Process(started.pid)
    tensor = {"name": RestModel(f"{started.address}{path}").input(), "datatype": "FP32", "shape": images.shape}
    about = {**tensor, "parameters": {"binary_data_size": images.nbytes}}
    head = json.dumps({"inputs": [about], "parameters": {"binary_data_output": True}}).encode()
    text = json.dumps({"inputs": [{**tensor, "data": images.ravel().tolist()}]}).encode()
    image = png_of(job.images()[0], job.artifact.preprocessing)
    requests = {
        "infer, bytes": _request(f"{path}/infer", head + images.tobytes(), f"{HEADER_LENGTH}: {len(head)}\r\n"),
        "infer, JSON": _request(f"{path}/infer", text),
        "classify, PNG": _request("/classify", image),
    }

    def cpu_s() -> float:
        times = process.cpu_times()
        return float(times.user + times.system)

    host, _, port = started.address.rpartition("/")[2].partition(":")
    with closing(socket.create_connection((host, int(port)))) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = [_cost(name, partial(_sent, connection, data), cpu_s) for name, data in requests.items()]
    return (_cost("ONNX Runtime alone", _alone(job, images), time.process_time), *sent)


def _request(path: str, body: bytes, header: str = "") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: load\r\n{header}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _sent(connection: socket.socket, request: bytes) -> None:
    """Send a request in one piece and read its reply: no client's own work is measured."""
    connection.sendall(request)
    reply = connection.recv(65536)
    found = LENGTH.search(reply)
    if not reply.startswith(b"HTTP/1.1 200 ") or found is None:
        raise EdgeError("EF-load-reply", f"the endpoint returned {reply[:200]!r}; expected status 200.")
    missing = reply.index(b"\r\n\r\n") + 4 + int(found[1]) - len(reply)
    while missing > 0:
        missing -= len(connection.recv(65536))


def _cost(name: str, call: Callable[[], object], cpu_s: Callable[[], float]) -> Cost:
    """Return the cost of a call; a process's CPU time has steps of 10 ms, so many calls are measured together."""
    for _ in range(WARM_UP):
        call()
    cpu_ms, wall_ms = [], []
    for _ in range(BLOCKS):
        cpu, wall = cpu_s(), time.perf_counter()
        for _ in range(REQUESTS):
            call()
        cpu_ms.append((cpu_s() - cpu) * 1000 / REQUESTS)
        wall_ms.append((time.perf_counter() - wall) * 1000 / REQUESTS)
    return Cost(name, statistics.median(cpu_ms), statistics.median(wall_ms), REQUESTS * BLOCKS)


def _alone(job: Job, images: "NDArray[np.float32]") -> Callable[[], Any]:
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = InferenceSession(job.main_file, options, providers=["CPUExecutionProvider"])
    feed = {session.get_inputs()[0].name: images}
    return lambda: session.run(None, feed)
