# SPDX-License-Identifier: Apache-2.0
"""The server of a service: uvicorn with this package's limits, which ends in order and within a stated time."""

import asyncio
import socket
from types import FrameType
from typing import Any

import uvicorn

from edgeferry.exporters.endpoint.connections import connections
from edgeferry.exporters.endpoint.observed import Observed, write_line
from edgeferry.exporters.endpoint.service import Service, application
from edgeferry.models.system.errors import EdgeError


class Server(uvicorn.Server):
    """uvicorn's server; after a signal it serves on for ``drain_s``, not ready, so that a proxy sends no more to it."""

    def __init__(self, config: uvicorn.Config, service: Service, rpc: Any) -> None:
        """Take uvicorn's settings, the service, and its gRPC server or None."""
        super().__init__(config)
        self._service, self._rpc = service, rpc

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end; a second signal ends at once."""
        drain_s = self._service.settings.drain_s
        if drain_s and self._service.is_ready:
            self._service.is_ready = False
            loop = asyncio.get_running_loop()
            loop.call_soon_threadsafe(loop.call_later, drain_s, super().handle_exit, sig, frame)
        else:
            self._service.is_ready = False
            super().handle_exit(sig, frame)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End in order: requests have ``grace_s`` to finish."""
        ends = [super().shutdown(sockets)]
        if self._rpc is not None:
            ends.append(self._rpc.stop(self._service.settings.grace_s))
        await asyncio.gather(*ends)


async def serve(service: Service, key: bytes, taken: socket.socket) -> None:
    """Serve at a listening socket until a signal comes."""
    settings = service.settings
    log = write_line if settings.access_log else lambda _: None
    observed = Observed(application(service), key, service.metrics, log, is_ready=lambda: service.is_ready)
    config = uvicorn.Config(
        observed,
        http=connections(settings.header_s),
        ws="none",
        lifespan="off",
        loop="asyncio",
        # Malformed requests are answered, and would fill the log.
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=settings.idle_s,
        timeout_graceful_shutdown=settings.grace_s,
    )
    rpc, rpc_address = None, ""
    if settings.grpc_port >= 0:
        from edgeferry.exporters.endpoint.rpc import start_rpc

        rpc, rpc_port = await start_rpc(service, key, log)
        rpc_address = f"grpc://{settings.host}:{rpc_port} and "
    host, port = taken.getsockname()[:2]
    # Connections wait in the socket until the server accepts them.
    print(f"{service.classifier.name} is served at {rpc_address}http://{host}:{port}", flush=True)  # noqa: T201 - a program of its own
    await Server(config, service, rpc).serve(sockets=[taken])


def listening(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 is any free port.

    Raises:
        EdgeError: the address cannot be used.
    """
    try:
        taken = socket.create_server((host, port), backlog=2048)
    except (OSError, OverflowError) as error:
        raise EdgeError(
            "EF-endpoint-address",
            f"cannot listen on {host}:{port}: {getattr(error, 'strerror', None) or error}; set HOST and PORT.",
        ) from None
    # asyncio sets it only for sockets of its own; without it a response waits 40 ms for the client to acknowledge the headers.
    taken.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return taken
