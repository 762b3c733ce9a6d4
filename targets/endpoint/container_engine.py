# SPDX-License-Identifier: Apache-2.0
"""Docker or Podman: builds an image from an artifact's folder, and runs a container of it."""

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.targets.endpoint.client import endpoint
from edgeferry.targets.target import Absent, Job

# The engine to use instead of the first that is found; the base image to use instead of the Dockerfile's.
ENGINE: Final = "EDGEFERRY_CONTAINER_ENGINE"
BASE: Final = "EDGEFERRY_CONTAINER_BASE"
ENGINES: Final = ("docker", "podman")
PORT: Final = 8080
ANSWER_TIMEOUT_S: Final = 30.0
START_TIMEOUT_S: Final = 120.0
BUILD_TIMEOUT_S: Final = 1200.0
# The program needs nothing that these remove.
HARDENED: Final = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")


def engine_program() -> str | None:
    """Return the path of the engine, or None where there is none."""
    return next(filter(None, map(shutil.which, [os.environ[ENGINE]] if os.environ.get(ENGINE) else ENGINES)), None)


def missing_engine() -> str | None:
    """Return why no container can run here, or None; whether the engine works shows in the run."""
    if engine_program() is not None:
        return None
    if named := os.environ.get(ENGINE):
        return f"{ENGINE} names {named}, which is not a program on this machine: install it, or unset the variable"
    return f"neither {' nor '.join(ENGINES)} is on PATH: install one, or name another in {ENGINE}"


class ContainerEngine:
    """A program that builds and runs containers: Docker, Podman, or another with the same commands."""

    def __init__(self, program: str) -> None:
        """Take the path of the program."""
        self._program, self.name = program, Path(program).name

    def build(self, job: Job) -> str:
        """Return the tag of an image built from an artifact's folder.

        Raises:
            Absent: the engine does not work.
            EdgeError: it does not build the image; the message ends in its last line.
        """
        try:
            self._call("info", timeout_s=ANSWER_TIMEOUT_S)
        except EdgeError as error:
            raise Absent("EF-container-engine", f"{self.name} is installed, but its engine does not work: {error}") from None
        # A tag allows less than a model's name.
        name = re.sub(r"[^a-z0-9]+", "-", job.main_file.stem.lower()).strip("-")
        image = f"edgeferry/{name}:{job.artifact.sha256[:12]}"
        base = ["--build-arg", f"BASE={os.environ[BASE]}"] if os.environ.get(BASE) else []
        self._call("build", "--quiet", "--tag", image, *base, str(job.folder.resolve()), timeout_s=BUILD_TIMEOUT_S)
        return image

    @contextmanager
    def started(self, image: str, job: Job) -> Iterator[tuple[str, float]]:
        """Yield the address of a container, which ends with the block, and how many milliseconds it took until it was ready.

        Raises:
            EdgeError: it does not start.
        """
        start = time.perf_counter()
        threads = f"THREADS={job.threads}"
        container = self._call("run", "--detach", "--publish", f"127.0.0.1::{PORT}", "--env", threads, *HARDENED, image)
        try:
            published = self._call("port", container, f"{PORT}/tcp").splitlines()
            if not published:
                raise EdgeError(
                    "EF-container-port", f"{self.name} publishes no port of a container; give it its own network (netns)"
                )
            address = f"http://{published[0]}"
            served = endpoint(address, 1)
            while not served.is_ready():
                running = self._call("inspect", "--format={{.State.Running}}", container) == "true"
                if not running or time.perf_counter() - start > START_TIMEOUT_S:
                    raise EdgeError(
                        "EF-container-start", f"the container did not become ready; its last line: {self._last_line(container)}"
                    )
                time.sleep(0.02)
            yield address, (time.perf_counter() - start) * 1000
        finally:
            self._call("rm", "--force", container)

    def _last_line(self, container: str) -> str:
        return (self._call("logs", container).splitlines() or ["nothing"])[-1]

    def _call(self, *arguments: str, timeout_s: float = START_TIMEOUT_S) -> str:
        try:
            done = subprocess.run(  # noqa: S603 - the engine that was found, with names that a config allows
                [self._program, *arguments], capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False
            )
        except subprocess.TimeoutExpired:
            message = f"`{self.name} {arguments[0]}` took longer than {timeout_s:.0f} s"
            raise EdgeError("EF-container-timeout", message) from None
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"status {done.returncode}"]
            raise EdgeError("EF-container-command", f"`{self.name} {arguments[0]}`: {lines[-1]}")
        return (done.stdout + done.stderr if arguments[0] == "logs" else done.stdout).strip()
