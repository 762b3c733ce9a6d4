# SPDX-License-Identifier: Apache-2.0
"""A server for one page, on this machine only: it serves files, receives bytes, and ends with its block."""

import re
import secrets
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from os import SEEK_END
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

TYPES: Final = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
    ".wasm": "application/wasm",
}
# The first two isolate the page; otherwise a browser gives it no threads and a clock of 100 microseconds.
HEADERS: Final = {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class PageServer:
    """The address of the pages, with a secret that no other page can guess, and the posted bytes by name."""

    address: str
    posted: dict[str, bytes] = field(default_factory=dict)


@contextmanager
def page_server(folders: Mapping[str, Path], largest_post: int, port: int = 0) -> Iterator[PageServer]:
    """Yield a server on 127.0.0.1 that serves each folder under its name and keeps posts of up to ``largest_post`` bytes.

    Raises:
        OSError: the port is in use; 0 chooses a free one.
    """
    token = secrets.token_urlsafe(16)
    server = _Server(("127.0.0.1", port), _Handler)
    place = PageServer(f"http://127.0.0.1:{server.server_address[1]}/{token}/")
    server.edgeferry = _Served(token, {name: folder.resolve() for name, folder in folders.items()}, largest_post, place.posted)  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield place
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass(frozen=True)
class _Served:
    token: str
    folders: Mapping[str, Path]
    largest_post: int
    posted: dict[str, bytes]


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing about a page that was closed before it had read everything."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are written separately: the body would wait up to 40 ms for the head to be acknowledged.
    disable_nagle_algorithm = True

    @property
    def _served(self) -> _Served:
        served: _Served = self.server.edgeferry  # type: ignore[attr-defined]
        return served

    def do_GET(self) -> None:
        file = self._file()
        part = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if file is None:
            self._send(HTTPStatus.NOT_FOUND)
        elif part:
            self._send_part(file, int(part[1]), int(part[2]))
        else:
            self._send(HTTPStatus.OK, file.read_bytes(), **_type_of(file))

    def do_POST(self) -> None:
        parts, length = self._parts(), int(self.headers.get("Content-Length") or -1)
        if len(parts) != 1:
            self._send(HTTPStatus.NOT_FOUND)
        elif not 0 <= length <= self._served.largest_post:
            self.close_connection = True
            self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            self._served.posted[parts[0]] = self.rfile.read(length)
            self._send(HTTPStatus.NO_CONTENT)

    def _parts(self) -> list[str]:
        token, *parts = unquote(urlsplit(self.path).path).removeprefix("/").split("/")
        return parts if secrets.compare_digest(token.encode(), self._served.token.encode()) else []

    def _file(self) -> Path | None:
        parts = self._parts()
        folder = self._served.folders.get(parts[0]) if parts else None
        if folder is None:
            return None
        file = folder.joinpath(*parts[1:]).resolve()
        return file if file.is_relative_to(folder) and file.is_file() else None

    def _send_part(self, file: Path, first: int, last: int) -> None:
        with file.open("rb") as opened:
            size = opened.seek(0, SEEK_END)
            opened.seek(first)
            body = opened.read(max(last + 1 - first, 0))
        if body:
            content_range = {"Content-Range": f"bytes {first}-{first + len(body) - 1}/{size}"}
            self._send(HTTPStatus.PARTIAL_CONTENT, body, **_type_of(file), **content_range)
        else:
            self._send(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)

    def _send(self, status: HTTPStatus, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, "Content-Type": "text/plain", **headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the base class's own name
        """Print nothing about served files."""


def _type_of(file: Path) -> dict[str, str]:
    return {"Content-Type": TYPES.get(file.suffix, "application/octet-stream")}
