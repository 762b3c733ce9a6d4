# SPDX-License-Identifier: Apache-2.0
"""The container's server, started in a folder as the container starts it."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


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
