# SPDX-License-Identifier: Apache-2.0
"""A running endpoint, as tests send requests to it."""

import json
from typing import TYPE_CHECKING, Any, Final

import urllib3

if TYPE_CHECKING:
    import subprocess

SMALL: Final = 200_000


class Served:
    """A running server: its address, and requests to it."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        *_, self.rpc_address, _, self.address = process.stdout.readline().split()
        self.process, self._pool = process, urllib3.PoolManager(retries=False, timeout=30)

    @property
    def place(self) -> tuple[str, int]:
        address = urllib3.util.parse_url(self.address)
        return address.host, address.port

    def send(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> Any:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._pool.request(
            method or ("GET" if body is None else "POST"), f"{self.address}{path}", body=body, headers=named
        )

    def request(self, path: str, body: bytes | None = None, method: str | None = None, **headers: str) -> tuple[int, Any]:
        response = self.send(path, body, method, **headers)
        return response.status, response.json()

    def infer(self, **tensor: Any) -> tuple[int, Any]:
        return self.request("/v2/models/colours/infer", json.dumps({"inputs": [tensor]}).encode())

    def is_ready(self) -> bool:
        return self.send("/v2/health/ready").status == 200
