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


def ask(
    server: PageServer, path: str, *, method: str = "GET", body: bytes | None = None, part: str = ""
) -> http.client.HTTPResponse:
    address = urlsplit(server.address)
    assert address.hostname is not None
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=10)
    headers = {"Range": part} if part else {}
    connection.request(method, path if path.startswith("//") else f"{address.path}{path}", body, headers)
    return connection.getresponse()


def test_it_listens_on_this_machine_alone(server: PageServer) -> None:
    assert server.address.startswith("http://127.0.0.1:")


def test_it_shows_a_file_and_isolates_the_page(server: PageServer) -> None:
    answer = ask(server, "files/page.html")
    assert (answer.status, answer.read()) == (200, b"hello")
    assert answer.headers["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer.headers["Cross-Origin-Embedder-Policy"] == "require-corp"


@pytest.mark.parametrize(
    ("part", "status", "body", "told"),
    [
        ("bytes=1-3", 206, b"ell", "bytes 1-3/5"),
        ("bytes=3-99", 206, b"lo", "bytes 3-4/5"),
        ("bytes=5-9", 416, b"", None),
        ("lines=1-2", 200, b"hello", None),
    ],
)
def test_a_part_of_a_file_is_shown(server: PageServer, part: str, status: int, body: bytes, told: str | None) -> None:
    answer = ask(server, "files/page.html", part=part)
    assert (answer.status, answer.read(), answer.headers["Content-Range"]) == (status, body, told)


def test_it_listens_where_it_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with page_server({"files": tmp_path}, largest_post=0, port=port) as server:
        assert server.address.startswith(f"http://127.0.0.1:{port}/")


def test_a_page_that_is_closed_early_is_no_news(server: PageServer, capfd: pytest.CaptureFixture[str]) -> None:
    address = urlsplit(server.address)
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        # Ends by a reset, as a browser that is closed does.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.sendall(b"GET ")
    assert ask(server, "files/page.html").status == 200
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    "path", ["files/../secret.txt", "files/%2e%2e/secret.txt", "files//etc/passwd", "files/", "other/page.html", ""]
)
def test_nothing_beside_its_folders_is_shown(server: PageServer, path: str) -> None:
    assert ask(server, path).status == 404


def test_nothing_is_shown_without_the_secret(server: PageServer) -> None:
    assert ask(server, "//files/page.html").status == 404


def test_what_is_posted_is_kept_by_name(server: PageServer) -> None:
    assert ask(server, "scores.bin", method="POST", body=b"12345678").status == 204
    assert server.posted == {"scores.bin": b"12345678"}


def test_more_than_was_agreed_is_refused(server: PageServer) -> None:
    assert ask(server, "scores.bin", method="POST", body=b"123456789").status == 413
    assert server.posted == {}


def test_it_is_gone_when_its_block_ends(tmp_path: Path) -> None:
    with page_server({"files": tmp_path}, largest_post=8) as server:
        pass
    with pytest.raises(ConnectionRefusedError):
        ask(server, "files/page.html")
