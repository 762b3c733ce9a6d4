# SPDX-License-Identifier: Apache-2.0
"""One process at a time writes to a build folder: it owns the folder's lock file while it runs.

The operating system holds the lock (``flock``) and releases it however its owner ends, so a dead owner is never waited for and a
process id that was used again is not taken for it. The file names the owner for people. Some network file systems have no
locks, or none that reach other machines: there, what the file says decides.
"""

import errno
import fcntl
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from edgeferry.models.system.errors import EdgeError
from edgeferry.models.system.files import explain_disk_errors, sweep

LOCK: Final = ".lock"
POLL_S: Final = 0.2
# A file system that has no locks.
NO_LOCKS: Final = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)
# Changes with every start of a machine, and is the same in its containers.
BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Owner:
    """The process that owns a build folder.

    ``started`` differs for a later process with the same id. ``boot`` is the start of its machine, '' where that is unknown.
    ``inode`` is the lock file's: a copy of the folder, such as one on another machine, has no owner.
    """

    pid: int
    started: str
    host: str
    boot: str
    since: str
    inode: int

    def __str__(self) -> str:
        """Return the owner in words."""
        return f"process {self.pid} on {self.host} since {self.since}"


@contextmanager
def owned(build: Path, note: Callable[[str], None], *, wait: bool = False) -> Iterator[None]:
    """Own a build folder, created if absent, while the block runs; what a dead owner left half written is removed first.

    With ``wait`` another owner is waited for, and ``note`` called with a line that says so.

    Raises:
        EdgeError: another process owns the folder, or the folder cannot be written.
    """
    path = build / LOCK
    file = _locked(path, note, wait=wait)
    try:
        sweep(build)
        yield
    finally:
        os.ftruncate(file, 0)
        _remove_if_empty(build)
        os.close(file)


def _locked(path: Path, note: Callable[[str], None], *, wait: bool) -> int:
    """Take the lock, at once or when it is free, and return the file that holds it until it is closed."""
    noted = False
    while True:
        with explain_disk_errors(path.parent):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        with ExitStack() as unless_taken:
            unless_taken.callback(os.close, file)
            other = _take(file, path)
            if other is None and _is_at(file, path):
                unless_taken.pop_all()
                return file
        if other is not None and not wait:
            raise EdgeError(
                "EF-build-in-use",
                f"{path.parent} is in use by {other}. Run again when it has ended, wait for it with --wait, or name another "
                f"folder with --build.{_elsewhere(other, path)}",
            )
        if other is not None and not noted:
            note(f"waiting for {path.parent}, in use by {other}")
            noted = True
        time.sleep(POLL_S if other is not None else 0)


def _is_at(file: int, path: Path) -> bool:
    """Say whether an open file is still the one at a path: its owner before may have removed a folder that stayed empty."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(file), path.stat())
    return False


def _remove_if_empty(build: Path) -> None:
    with suppress(OSError):
        if [each.name for each in build.iterdir()] == [LOCK]:
            (build / LOCK).unlink()
            build.rmdir()


def _elsewhere(owner: Owner, path: Path) -> str:
    """Return what to do about an owner that cannot be seen from here."""
    return "" if owner.host == platform.node() else f" If it has ended there, remove {path}."


def _take(file: int, path: Path) -> Owner | None:
    """Return None where the lock was taken and names this process now, otherwise its owner."""
    locked = True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        # It was taken this instant, and is not written yet.
        return _owner(file) or Owner(0, "", platform.node(), "", "now", 0)
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        locked = False
    other, own = _owner(file), _this_process(os.fstat(file).st_ino)
    if other is not None and _may_run(other, own, locked=locked):
        if locked:
            fcntl.flock(file, fcntl.LOCK_UN)
        return other
    with explain_disk_errors(path):
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(asdict(own)).encode(), 0)
    return None


def _may_run(owner: Owner, own: Owner, *, locked: bool) -> bool:
    """Say whether the owner that a lock file names may still run, where the system itself does not say that it does."""
    if owner.inode != own.inode:
        return False
    if owner.boot == own.boot and (owner.boot or owner.host == own.host):
        return not locked and owner.pid != own.pid and _started(owner.pid) == owner.started
    return owner.host != own.host


def _owner(file: int) -> Owner | None:
    """Return the owner that a lock file names, None where it names none; ``file`` is its descriptor."""
    try:
        fields = json.loads(os.pread(file, 4096, 0))
        return Owner(**{name: kind(fields[name]) for name, kind in Owner.__annotations__.items()})
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _this_process(inode: int) -> Owner:
    since = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
    boot = BOOT_ID.read_text(encoding="ascii").strip() if BOOT_ID.is_file() else ""
    return Owner(os.getpid(), _started(os.getpid()), platform.node(), boot, since, inode)


def _started(pid: int) -> str:
    """Return when a process started, '' where there is none; on Linux in ticks since the machine did, which no clock changes."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        import psutil

        return str(psutil.Process(pid).create_time()) if psutil.pid_exists(pid) and not Path("/proc/self").exists() else ""
