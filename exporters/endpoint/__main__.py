# SPDX-License-Identifier: Apache-2.0
"""``python -m edgeferry.exporters.endpoint digits.onnx``: serve one classifier, configured by the environment."""

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

import uvicorn

from edgeferry.exporters.endpoint.classifier import load
from edgeferry.exporters.endpoint.service import service
from edgeferry.models.system.cores import cores_allowed
from edgeferry.models.system.errors import EdgeError

# The settings and their defaults; 0 workers means as many as the cores allow.
SETTINGS: Final = {"PORT": 8080, "THREADS": 1, "WORKERS": 0, "MOST_BYTES": 16 * 1024 * 1024}
# Each connection may hold a body in memory; further ones get status 503.
MOST_CONNECTIONS: Final = 256


def main(arguments: list[str]) -> str | None:
    """Serve until stopped by a signal; return an error message where it cannot start."""
    if len(arguments) != 1:
        return (
            f"usage: python -m edgeferry.exporters.endpoint MODEL.onnx; HOST, {', '.join(SETTINGS)} are read from the environment"
        )
    try:
        port, threads, workers, most_bytes = (_setting(name) for name in SETTINGS)
        classifier = load(Path(arguments[0]), max(threads, 1))
        listening = _listening(os.environ.get("HOST", "127.0.0.1"), port)
    except EdgeError as error:
        return f"{error} [{error.code}]"
    application = service(classifier, workers or max(1, cores_allowed() // classifier.threads), most_bytes)
    config = uvicorn.Config(application, log_level="warning", limit_concurrency=MOST_CONNECTIONS)
    host, taken = listening.getsockname()[:2]
    # Connections wait in the socket until the server accepts them.
    print(f"{classifier.name} is served at http://{host}:{taken}", flush=True)  # noqa: T201 - a program of its own
    # uvicorn shuts down in order, and then raises the signal that stopped it again.
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
    return None


def _listening(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free port."""
    try:
        listening = socket.create_server((host, port), backlog=2048)
    except (OSError, OverflowError) as error:
        raise EdgeError(
            "EF-endpoint-address",
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}; set HOST and PORT.",
        ) from None
    # asyncio sets it only for sockets of its own; without it a response waits 40 ms for the client to acknowledge the headers.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _setting(name: str) -> int:
    text = os.environ.get(name, str(SETTINGS[name]))
    if not text.isascii() or not text.isdigit():
        raise EdgeError("EF-endpoint-setting", f"{name} is {text!r}; expected a whole number.")
    return int(text)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
