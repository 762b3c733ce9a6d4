# SPDX-License-Identifier: Apache-2.0
"""The program of an artifact's container, run on this machine in the artifact's folder."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from edgeferry.targets.host.installed import needs
from edgeferry.targets.target import Job

PROGRAM: Final = "edgeferry.exporters.endpoint"
# What the program imports, and the distributions that a run depends on.
MODULES: Final = ("onnxruntime", "starlette", "uvicorn", "httptools", "prometheus_client", "urllib3")
VERSIONS: Final = ("onnxruntime", "starlette", "uvicorn", "httptools", "pillow", "numpy", "urllib3")
# Variables that the program is started with; others could make it differ from the container, or load other modules than its own.
KEPT: Final = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "TMPDIR", "HOME", "LANG", "LC_ALL")
RPC: Final = "grpc://"
START_TIMEOUT_S: Final = 120.0
STOP_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True)
class Program:
    """A running program: its address, that of gRPC where asked for, its process, and the milliseconds until it was ready."""

    address: str
    rpc_address: str
    pid: int
    start_ms: float


def missing_program() -> str | None:
    """Return what the program lacks here, or None."""
    return next(filter(None, (needs(module)() for module in MODULES)), None)


@contextmanager
def program(job: Job, **settings: str) -> Iterator[Program]:
    """Yield the artifact's own program, run in its folder with some more settings.

    Raises:
        RuntimeError: it ended before it was ready, or took too long; the message ends in its last line.
    """
    start, output = time.perf_counter(), job.work / "server.log"
    job.work.mkdir(parents=True, exist_ok=True)
    environment = {name: value for name, value in os.environ.items() if name in KEPT}
    # The folder stays as it was exported.
    environment |= {"HOST": "127.0.0.1", "PORT": "0", "THREADS": str(job.threads), "PYTHONDONTWRITEBYTECODE": "1", **settings}
    command = [sys.executable, "-m", PROGRAM, job.main_file.name]
    with (
        output.open("wb") as log,
        subprocess.Popen(  # noqa: S603 - the artifact's own program, with its own file as argument
            command, cwd=job.folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        late = threading.Timer(START_TIMEOUT_S, process.kill)
        late.start()
        try:
            line = process.stdout.readline() if process.stdout else ""
            late.cancel()
            if not line:
                lines = output.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["it printed nothing"]
                raise RuntimeError(f"its program exited with status {process.wait()} before it was ready: {lines[-1]}")
            words = line.split()
            rpc = next((word for word in words if word.startswith(RPC)), "").removeprefix(RPC)
            yield Program(words[-1], rpc, process.pid, (time.perf_counter() - start) * 1000)
        finally:
            late.cancel()
            _end(process)


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
