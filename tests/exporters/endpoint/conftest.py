# SPDX-License-Identifier: Apache-2.0
"""The container's server, started in a folder as the container starts it."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from endpoint_server import SMALL, Served

FORMAT: Final = "container-float32"


@pytest.fixture(scope="session")
def start() -> "Callable[..., subprocess.Popen[str]]":
    """Return a function of a folder, a model file in it and settings that starts the server on any free port."""

    def started(folder: Path, model: str, **settings: str) -> "subprocess.Popen[str]":
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        return subprocess.Popen(
            [sys.executable, "-m", "edgeferry.exporters.endpoint", model],
            cwd=folder,
            env={**environment, "PORT": "0", "PYTHONDONTWRITEBYTECODE": "1", **settings},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A process inherits ignored signals, and a shell starts background jobs with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - no lock is taken in it
        )

    return started


@pytest.fixture(scope="session")
def served(start: "Callable[..., subprocess.Popen[str]]") -> "Callable[..., Any]":
    """Return a context manager of a folder, a model file in it and settings: the server, stopped at the end."""

    @contextmanager
    def running(folder: Path, model: str, **settings: str) -> Iterator[Served]:
        with start(folder, model, GRPC_PORT="0", **settings) as process:
            try:
                yield Served(process)
            finally:
                process.terminate()

    return running


@pytest.fixture(scope="session")
def colours_served(served: "Callable[..., Any]", exported_colours: Any) -> Iterator[Served]:
    """Return the colour classifier served as exported, with a small limit on bodies."""
    with served(exported_colours.build / FORMAT, "colours.onnx", MOST_BYTES=str(SMALL)) as running:
        yield running
