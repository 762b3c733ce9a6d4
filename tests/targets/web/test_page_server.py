# SPDX-License-Identifier: Apache-2.0
import http.client
import socket
import struct
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from edgeferry.targets.web.page_server import PageServer, page_server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PageServer]:
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / "page.html").write_text("hello")
    (tmp_path / "secret.txt").write_text("secret")
    with page_server({"files": tmp_path / "shown"}, largest_post=8) as server:
        yield server


def request(
    server: PageServer, path: str, *, method: str = "GET", body: bytes | None = None, part: str = ""
) -> http.client.HTTPResponse:
    address = urlsplit(server.address)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    headers = {"Range": part} if part else {}
    connection.request(method, path if path.startswith("//") else f"{address.path}{path}", body, headers)
    return connection.getresponse()


def test_it_listens_on_this_machine_only(server: PageServer) -> None:
    assert server.address.startswith("http://127.0.0.1:")


def test_it_serves_a_file_and_isolates_the_page(server: PageServer) -> None:
    response = request(server, "files/page.html")
    assert (response.status, response.read()) == (200, b"hello")
    assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert response.headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize(
    ("part", "status", "body", "content_range"),
    [
        ("bytes=1-3", 206, b"ell", "bytes 1-3/5"),
        ("bytes=3-99", 206, b"lo", "bytes 3-4/5"),
        ("bytes=5-9", 416, b"", None),
        ("lines=1-2", 200, b"hello", None),
    ],
)
def test_a_part_of_a_file_is_served(server: PageServer, part: str, status: int, body: bytes, content_range: str | None) -> None:
    response = request(server, "files/page.html", part=part)
    assert (response.status, response.read(), response.headers["Content-Range"]) == (status, body, content_range)


def test_it_listens_on_the_given_port(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with page_server({"files": tmp_path}, largest_post=0, port=port) as server:
        assert server.address.startswith(f"http://127.0.0.1:{port}/")


def test_a_page_that_is_closed_early_prints_nothing(server: PageServer, capfd: pytest.CaptureFixture[str]) -> None:
    address = urlsplit(server.address)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        # Ends by a reset, as a browser that is closed does.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"GET ")
    assert request(server, "files/page.html").status == 200
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "path", ["files/../secret.txt", "files/%2e%2e/secret.txt", "files//etc/passwd", "files/", "other/page.html", ""]
)
def test_nothing_outside_its_folders_is_served(server: PageServer, path: str) -> None:
    assert request(server, path).status == 404


def test_nothing_is_served_without_the_secret(server: PageServer) -> None:
    assert request(server, "//files/page.html").status == 404


def test_what_is_posted_is_kept_by_name(server: PageServer) -> None:
    assert request(server, "scores.bin", method="POST", body=b"12345678").status == 204
    assert server.posted == {"scores.bin": b"12345678"}


def test_a_post_above_the_limit_is_refused(server: PageServer) -> None:
    assert request(server, "scores.bin", method="POST", body=b"123456789").status == 413
    assert server.posted == {}


def test_it_is_gone_when_its_block_ends(tmp_path: Path) -> None:
    with page_server({"files": tmp_path}, largest_post=8) as server:
        pass
    with pytest.raises(ConnectionRefusedError):
        request(server, "files/page.html")
