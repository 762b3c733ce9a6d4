# SPDX-License-Identifier: Apache-2.0
"""Real artifacts of a small trained classifier, and every target run as the harness runs it: in a child process."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from edgeferry.exporters.format import formats
from edgeferry.models.system.child import Child
from edgeferry.targets.target import Job, Run, Unsupported, targets

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FORMATS: Final = tuple(form.name for form in formats().values() if form.by_default and form.missing() is None)

# Not on a user's PATH.
SSHD: Final = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")

Answer = Callable[..., Run]


@pytest.fixture(scope="session")
def build(exported_colours: Any) -> Path:
    """Return the folder with the colour classifier's reference and artifacts."""
    exports = exported_colours.exports
    assert not [name for name in FORMATS if name in exports and exports[name].state not in {"written", "kept"}]
    folder: Path = exported_colours.build
    return folder


@pytest.fixture(scope="session")
def scores(build: Path) -> "NDArray[np.float32]":
    """Return the original's probabilities."""
    import numpy as np

    original: NDArray[np.float32] = np.load(build / "reference" / "scores.npy")
    return original


@pytest.fixture(scope="session")
def child() -> Iterator[Child]:
    with Child() as child:
        yield child


@pytest.fixture
def answer(build: Path, child: Child, tmp_path: Path) -> Answer:
    """Return ``answer(target, folder, **job)``: a target's run of an artifact's folder, or of a format's by its name."""

    def run(name: str, folder: Path | str, **how: Any) -> Run:
        return _run(child, name, build, tmp_path, folder=folder, **how)

    return run


@pytest.fixture(scope="session")
def answer_once(build: Path, child: Child, tmp_path_factory: pytest.TempPathFactory) -> Answer:
    """Return ``answer_once(target, format)``: the one run of seven rounds that all tests look at."""

    @cache
    def run(name: str, form: str) -> Run | str:
        try:
            return _run(child, name, build, tmp_path_factory.mktemp("once"), folder=form, rounds=7)
        except Unsupported as error:
            return str(error)

    def run_or_skip(name: str, form: str) -> Run:
        answered = run(name, form)
        if isinstance(answered, str):
            pytest.skip(answered)
        return answered

    return run_or_skip


def _run(child: Child, name: str, build: Path, work: Path, *, folder: Path | str, **how: Any) -> Run:
    target = targets()[name]
    if why := target.missing():
        pytest.skip(why)
    job = Job(build / folder, build / "reference" / "pixels.npy", work / "work", **{"warmup": 1, "rounds": 5} | how)
    answered: Run = child.call(target.run, job, log=work / "target.log", timeout_s=300)
    return answered


class Sshd:
    """A real sshd on this machine's loopback that stands for a board's; it can be stopped and lose its connections."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "sshd.log"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        for key in ("host", "id"):
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
        (folder / "known").write_text(f"[127.0.0.1]:{self.port} {(folder / 'host.pub').read_text()}")
        (folder / "sshd_config").write_text(
            f"Port {self.port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nStrictModes no\nUsePAM no\n"
            f"AuthorizedKeysFile {folder}/id.pub\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
        )
        self.configure()
        self.start()

    def configure(self, **other: object) -> None:
        words = {
            "HostName": "127.0.0.1",
            "Port": self.port,
            "IdentityFile": self.folder / "id",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.folder / "known",
            "StrictHostKeyChecking": "yes",
        }
        lines = [f"  {key} {value}" for key, value in {**words, **other}.items()]
        # Each its own file, so that no connection of another configuration is shared.
        self.config = self.folder / f"config{len(list(self.folder.glob('config*')))}"
        self.config.write_text("\n".join(["Host board", *lines, ""]))

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([SSHD, "-D", "-e", "-f", self.folder / "sshd_config"], stderr=log)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise AssertionError(self.log.read_text())

    def stop(self) -> None:
        """End the server and every connection to it; what it started otherwise goes on."""
        children = _children(self.process.pid)
        self.process.kill()
        self.process.wait()
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def connections(self) -> int:
        return self.log.read_text().count("Accepted publickey")


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            name, _, rest = stat.read_text().partition("(")[2].rpartition(")")
            if int(rest.split()[1]) == parent and name.startswith("sshd"):
                child = int(stat.parent.name)
                found += [child, *_children(child)]
    return found


@pytest.fixture
def sshd(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sshd]:
    """Return a server that the targets reach as ``board``."""
    if SSHD is None or not Path("/proc/self/stat").exists():
        pytest.skip("no sshd on this machine (Debian package openssh-server)")
    if os.getuid() == 0:
        # As Debian's own start script does; a user's sshd needs none.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    monkeypatch.setenv("EDGEFERRY_SSH_CONFIG", str(server.config))
    yield server
    server.stop()
