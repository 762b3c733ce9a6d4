# SPDX-License-Identifier: Apache-2.0
"""The temporary folder of a process and its children; what processes that were killed left is removed at the next start."""

import fcntl
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Final

PREFIX: Final = "edgeferry-run-"
# A folder this young may belong to a process that has not locked it yet.
YOUNG_S: Final = 60.0


class _Folder:
    """A folder that is locked as long as this process runs."""

    def __init__(self) -> None:
        """Create and lock it."""
        self._made = tempfile.TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True)
        self.path = Path(self._made.name)
        self._lock = os.open(self.path, os.O_RDONLY)
        with suppress(OSError):
            fcntl.flock(self._lock, fcntl.LOCK_EX)


def temporary_folder() -> Path:
    """Return this process's temporary folder, made at the first call; those of processes that were killed are removed then."""
    return _own(os.getpid()).path


@cache
def _own(_pid: int) -> _Folder:
    folder = _Folder()
    for other in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            _remove_if_dead(other)
    return folder


def _remove_if_dead(folder: Path) -> None:
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or abs(time.time() - found.st_mtime) < YOUNG_S:
        return
    lock = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        # Raises where its process runs.
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    finally:
        os.close(lock)
