# SPDX-License-Identifier: Apache-2.0
"""What the server bounds: time, bytes, sockets and requests that wait; and that good clients are served meanwhile."""

import io
import json
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Final

import grpc
import pytest
from endpoint_server import Served
from PIL import Image

FORMAT: Final = "container-float32"
HALF: Final = b"POST /classify HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nhalf"
KEY: Final = {"API_KEY": "the key"}
NAMED: Final = {"Authorization": "Bearer the key"}
Start = Callable[..., Any]


@pytest.fixture(scope="module")
def strict(served: Start, exported_colours: Any) -> Iterator[Served]:
    """Return the colour classifier served with short times, and room for few bytes."""
    limits = {"HEADER_S": "2", "BODY_S": "2", "IDLE_S": "2", "MOST_BYTES_HELD": "100000", "GRACE_S": "3"}
    with served(exported_colours.build / FORMAT, "colours.onnx", **limits) as running:
        yield running


def _reply(place: tuple[str, int], data: bytes) -> bytes:
    """Return all that comes back until the server closes the connection."""
    with socket.create_connection(place, timeout=30) as connection:
        connection.sendall(data)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_a_thousand_idle_connections_stop_no_answer(strict: Served) -> None:
    with ExitStack() as stack:
        for _ in range(1000):
            stack.enter_context(socket.create_connection(strict.place))
        assert strict.is_ready()


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HT", b"408"),
        (HALF, b"408"),
        (b"GET / HTTP/1.1\r\nA: " + b"a" * 500_000, b"431"),
        (b"POST /classify HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n", b"400"),
    ],
    ids=["half a header", "half a body", "large header", "two lengths", "no HTTP"],
)
def test_a_connection_that_goes_wrong_is_answered_and_closed(strict: Served, data: bytes, status: bytes) -> None:
    reply = _reply(strict.place, data)
    assert reply.split()[1] == status
    assert json.loads(reply.rpartition(b"\r\n\r\n")[2]).keys() == {"error"}


def test_an_idle_connection_is_closed(strict: Served) -> None:
    assert _reply(strict.place, b"") == b""
    assert _reply(strict.place, b"GET /v2 HTTP/1.1\r\nHost: here\r\n\r\n").startswith(b"HTTP/1.1 200")


def test_bodies_that_are_too_many_bytes_together_are_refused_with_the_time_to_wait(strict: Served) -> None:
    with socket.create_connection(strict.place) as other:
        other.sendall(HALF.replace(b"1000", b"90000") + bytes(80_000))
        response = strict.send("/classify", bytes(50_000))
        assert (response.status, response.headers["Retry-After"]) == (503, "1")
        assert strict.is_ready()


def test_a_signal_ends_it_in_time_whatever_bodies_are_unfinished(served: Start, exported_colours: Any) -> None:
    with (
        served(exported_colours.build / FORMAT, "colours.onnx", GRACE_S="1") as running,
        socket.create_connection(running.place) as half,
    ):
        half.sendall(HALF)
        assert running.is_ready()
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(20) in {0, -signal.SIGTERM}


def test_requests_that_cannot_wait_are_refused_and_probes_never(served: Start, exported_colours: Any) -> None:
    file = io.BytesIO()
    Image.new("RGB", (2500, 2500)).save(file, "PNG")
    with (
        served(exported_colours.build / FORMAT, "colours.onnx", WORKERS="1", WAITING="1") as running,
        ThreadPoolExecutor(8) as pool,
    ):
        replies = [pool.submit(running.send, "/classify", file.getvalue()) for _ in range(8)]
        while not all(reply.done() for reply in replies):
            assert running.is_ready()
        statuses = {reply.result().status for reply in replies}
    assert statuses == {200, 503}


def test_it_is_not_ready_but_serves_while_it_drains(served: Start, exported_colours: Any) -> None:
    with served(exported_colours.build / FORMAT, "colours.onnx", DRAIN_S="3") as running:
        assert running.is_ready()
        running.process.send_signal(signal.SIGTERM)
        while running.is_ready():
            time.sleep(0.01)
        response = running.send("/v2")
        assert (response.status, response.headers["Connection"]) == (200, "close")


def test_a_key_is_needed_where_there_is_one(served: Start, exported_colours: Any) -> None:
    with served(exported_colours.build / FORMAT, "colours.onnx", **KEY) as running:
        assert running.is_ready()
        assert [running.send("/v2").status, running.send("/v2", Authorization="Bearer another").status] == [401, 401]
        assert running.send("/v2", **NAMED).status == 200
        with grpc.insecure_channel(running.rpc_address.removeprefix("grpc://")) as channel:
            call = channel.unary_unary("/inference.GRPCInferenceService/ServerMetadata")
            with pytest.raises(grpc.RpcError, check=lambda error: error.code() == grpc.StatusCode.UNAUTHENTICATED):
                call(b"", timeout=30)
            assert call(b"", timeout=30, metadata=(("authorization", "Bearer the key"),))


def test_each_request_is_a_line_of_json_in_the_log(served: Start, exported_colours: Any) -> None:
    with served(exported_colours.build / FORMAT, "colours.onnx", ACCESS_LOG="1") as running:
        running.send("/v2?secret=1", X_Request_Id="abc")
        line = json.loads(running.process.stdout.readline())
    assert (line["id"], line["path"], line["status"]) == ("abc", "/v2", 200)


def test_another_file_than_the_image_was_built_with_is_refused(start: Start, exported_colours: Any) -> None:
    with start(exported_colours.build / FORMAT, "colours.onnx", MODEL_SHA256="0" * 64) as process:
        assert process.communicate(timeout=60)[1].endswith("[EF-endpoint-digest]\n")
