# SPDX-License-Identifier: Apache-2.0
"""What the environment sets of the server: addresses, limits and times."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

from edgeferry.models.system.cores import cores_allowed
from edgeferry.models.system.errors import EdgeError

MEBIBYTE: Final = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """The settings, each a variable of the same name in capitals; 0 workers means as many as the cores allow.

    ``waiting`` requests wait for a worker at most; more get status 503. ``most_bytes`` bounds one body, ``most_bytes_held`` all
    that are in memory. ``drain_s`` is how long it still serves, but is not ready, after a signal; ``grace_s`` how long requests
    have to finish then. ``grpc_port`` is -1 where there is no gRPC. ``model_sha256`` is the file's digest, or empty.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    grpc_port: int = -1
    threads: int = 1
    workers: int = 0
    waiting: int = 64
    most_bytes: int = 16 * MEBIBYTE
    most_bytes_held: int = 128 * MEBIBYTE
    most_batch: int = 32
    most_pixels: int = 25_000_000
    header_s: int = 10
    body_s: int = 30
    idle_s: int = 75
    drain_s: int = 0
    grace_s: int = 20
    access_log: int = 0
    api_key: str = ""
    api_key_file: str = ""
    model_sha256: str = ""

    def at_once(self) -> int:
        """Return how many requests are computed at once."""
        return self.workers or max(1, cores_allowed() // max(self.threads, 1))

    def key(self) -> bytes:
        """Return the key that requests must name, or nothing where none is needed.

        Raises:
            EdgeError: the key's file cannot be read, or is empty.
        """
        if not self.api_key_file:
            return self.api_key.encode()
        try:
            key = Path(self.api_key_file).read_bytes().strip()
        except OSError as error:
            raise EdgeError("EF-endpoint-setting", f"API_KEY_FILE {self.api_key_file}: {error.strerror}.") from None
        if not key:
            raise EdgeError("EF-endpoint-setting", f"API_KEY_FILE {self.api_key_file} is empty; expected a key.")
        return key


VARIABLES: Final = tuple(field.name.upper() for field in fields(Settings))


def read_settings(environment: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of an environment; what is not set, or set to nothing, is the default.

    Raises:
        EdgeError: a number is none.
    """
    found = {field.name: (field.type, environment.get(field.name.upper(), "")) for field in fields(Settings)}
    return Settings(**{name: text if kind is str else _number(name, text) for name, (kind, text) in found.items() if text})  # type: ignore[arg-type]


def _number(name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise EdgeError("EF-endpoint-setting", f"{name.upper()} is {text[:40]!r}; expected a whole number.")
    return int(text)
