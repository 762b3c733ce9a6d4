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

# What may be set, and what is taken where it is not: 0 workers are as many as the cores allow.
SETTINGS: Final = {"PORT": 8080, "THREADS": 1, "WORKERS": 0, "MOST_BYTES": 16 * 1024 * 1024}
# Each may hold a body in memory; more are answered with 503.
MOST_CONNECTIONS: Final = 256


def main(arguments: list[str]) -> str | None:
    """Serve until told to stop; return what is wrong where that cannot be begun."""
    if len(arguments) != 1:
        return (
            f"usage: python -m edgeferry.exporters.endpoint MODEL.onnx; HOST, {', '.join(SETTINGS)} are read from the environment"
        )
    try:
        port, threads, workers, most_bytes = (_setting(name) for name in SETTINGS)
        classifier = load(Path(arguments[0]), max(threads, 1))
        listening = _listening(os.environ.get("HOST", "127.0.0.1"), port)
    except EdgeError as error:
        return str(error)
    application = service(classifier, workers or max(1, cores_allowed() // classifier.threads), most_bytes)
    config = uvicorn.Config(application, log_level="warning", limit_concurrency=MOST_CONNECTIONS)
    host, taken = listening.getsockname()[:2]
    # Connections wait in the socket until the server takes them.
    print(f"{classifier.name} answers on http://{host}:{taken}", flush=True)  # noqa: T201 - a program of its own
    # It ends in order, and then passes on the signal that ended it.
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])
    return None


def _listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; port 0 is any that is free."""
    try:
        listening = socket.create_server((host, port), backlog=2048)
    except (OSError, OverflowError) as error:
        raise EdgeError(f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}.") from None
    # asyncio sets it for sockets that it makes itself; without it an answer waits 40 ms for the client to acknowledge its head.
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _setting(name: str) -> int:
    told = os.environ.get(name, str(SETTINGS[name]))
    if not told.isascii() or not told.isdigit():
        raise EdgeError(f"{name} is {told!r}; expected a whole number.")
    return int(told)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
