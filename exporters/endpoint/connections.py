# SPDX-License-Identifier: Apache-2.0
"""Connections with limits on what uvicorn leaves unlimited: the time of headers and of answers, and the size of headers.

Bodies have their limits in service.py, which reads them; idle connections after a request are uvicorn's (``IDLE_S``).
"""

import asyncio
import json
import resource
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

# Of a request line and its headers, as nginx and Apache allow at most; also of what frames a chunked body, beyond its own size.
MOST_HEAD: Final = 64 * 1024
# Descriptors that are not connections: files, and sockets that listen.
RESERVED: Final = 64


class Connection(HttpToolsProtocol):
    """A connection that is closed where its headers are late or too large, or its client does not read.

    Where the process has no descriptors left, the connection that has been idle longest makes room.
    """

    header_s: float
    most: int
    idle: dict["Connection", None]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self._late: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None
        self._framing = self._body = 0
        self._in_head = self._is_refused = False
        self._wait_for_header()
        if len(self.connections) > self.most and self.idle:
            longest_idle = next(iter(self.idle))
            del self.idle[longest_idle]
            longest_idle.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        if self._unread is not None:
            self._unread.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; refuse what has more of a header than allowed."""
        if self._is_refused:
            return
        self._framing += len(data)
        super().data_received(data)
        if self._is_refused or self.transport.is_closing():
            return
        if self._framing > MOST_HEAD + self._body:
            self._refuse(431, f"the headers have more than {MOST_HEAD} bytes")
        elif self._late is None and not self._busy():
            self._wait_for_header()

    def on_message_begin(self) -> None:
        """Begin the headers."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begin the request; its body has a time limit of its own."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of the body."""
        self._framing -= len(body)
        self._body += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request's own bytes."""
        self._framing = self._body = 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin to be idle."""
        super().on_response_complete()
        if not self._busy():
            self.idle[self] = None

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in the protocol's form."""
        self._refuse(400, msg)

    def pause_writing(self) -> None:
        """Begin to wait for a client that does not read."""
        super().pause_writing()
        self._unread = self.loop.call_later(self.header_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _wait_for_header(self) -> None:
        self.idle[self] = None
        self._late = self.loop.call_later(self.header_s, self._header_is_late)

    def _stop_waiting(self) -> None:
        self.idle.pop(self, None)
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _header_is_late(self) -> None:
        if self._in_head:
            self._refuse(408, f"the headers did not arrive within {self.header_s:g} s")
        else:
            self.transport.close()

    def _refuse(self, status: int, reason: str) -> None:
        """Answer for the last time, and wait for the client to close: a reply is lost where a server closes first."""
        content = json.dumps({"error": reason}).encode()
        head = f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n".encode()
        self._stop_waiting()
        self._is_refused = True
        self.transport.write(STATUS_LINE[status] + head + content)
        self.transport.write_eof()
        self._late = self.loop.call_later(self.header_s, self.transport.abort)


def connections(header_s: float) -> type[Connection]:
    """Return the connections of one server; the process may then open as many files as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = max(hard - RESERVED, 1) if hard != resource.RLIM_INFINITY else 1_000_000
    limits: dict[str, Any] = {"header_s": header_s, "most": most, "idle": {}}
    return type("LimitedConnection", (Connection,), limits)
