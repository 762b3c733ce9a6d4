# SPDX-License-Identifier: Apache-2.0
"""What holds for every request, whatever it asks: a request id, an API key where there is one, a log line and figures."""

import hmac
import json
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edgeferry.exporters.endpoint.metrics import Metrics

REQUEST_ID: Final = "X-Request-Id"
LONGEST_REQUEST_ID: Final = 128
# Probes come from the platform, which has no key.
OPEN: Final = ("/v2/health/live", "/v2/health/ready")
# The milliseconds of a request's stages, kept in its scope.
TOOK_MS: Final = "edgeferry.took_ms"
Log = Callable[[Mapping[str, Any]], None]


class Observed:
    """An application whose every request has an id, is allowed by its key, logged and counted."""

    def __init__(self, application: ASGIApp, key: bytes, metrics: Metrics, log: Log, *, is_ready: Callable[[], bool]) -> None:
        """Take the application, the key or nothing, the figures, what writes a log line, and whether the server goes on."""
        self._application, self._key, self._metrics, self._log, self._is_ready = application, key, metrics, log, is_ready

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request."""
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        headers, start = Headers(scope=scope), time.perf_counter_ns()
        name, took_ms, status = request_id(headers.get(REQUEST_ID)), dict[str, float](), 500
        scope[TOOK_MS] = took_ms

        async def sent(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                reply = MutableHeaders(scope=message)
                reply[REQUEST_ID] = name
                if not self._is_ready():
                    # The client opens another connection, to a server that goes on.
                    reply["Connection"] = "close"
            await send(message)

        try:
            if scope["path"] in OPEN or is_allowed(headers.get("Authorization"), self._key):
                await self._application(scope, receive, sent)
            else:
                await _refuse(sent)
        finally:
            took_ms["total"] = (time.perf_counter_ns() - start) / 1e6
            self._metrics.reply(_route(scope), status, took_ms)
            self._log({"id": name, **_about(scope), "status": status, "took_ms": took_ms})


def request_id(found: str | None) -> str:
    """Return a request's own id where it is short and printable, or a new one."""
    usable = found and len(found) <= LONGEST_REQUEST_ID and found.isascii() and found.isprintable()
    return found if found and usable else uuid.uuid4().hex


def is_allowed(authorization: str | None, key: bytes) -> bool:
    """Return whether ``Bearer KEY`` names the key, compared in a time that does not depend on where they differ."""
    scheme, _, named = (authorization or "").partition(" ")
    return not key or (scheme.lower() == "bearer" and hmac.compare_digest(named.strip().encode(), key))


def write_line(facts: Mapping[str, Any]) -> None:
    """Write a line of JSON to standard output, with the time."""
    sys.stdout.write(f"{json.dumps({'time': datetime.now(UTC).isoformat(timespec='milliseconds'), **facts})}\n")
    sys.stdout.flush()


def _about(scope: Scope) -> dict[str, Any]:
    return {"client": (scope.get("client") or ("",))[0], "method": scope["method"], "path": scope["path"]}


def _route(scope: Scope) -> str:
    """Return the name of the handler that served a request: one of few, whatever paths are asked for."""
    return getattr(scope.get("endpoint"), "__name__", "none")


async def _refuse(send: Send) -> None:
    content = json.dumps({"error": "the header Authorization does not name the server's key; expected Bearer KEY"}).encode()
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"www-authenticate", b"Bearer"),
    ]
    await send({"type": "http.response.start", "status": 401, "headers": headers})
    await send({"type": "http.response.body", "body": content})
