# SPDX-License-Identifier: Apache-2.0
"""What the system lets a process set on itself before it reads a file that somebody else made: memory, and no network."""

import ctypes
import os
import re
import resource
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

# Of linux/sched.h.
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWNET: Final = 0x40000000
STATUS: Final = Path("/proc/self/status")


@contextmanager
def memory_limit(more: int) -> Iterator[None]:
    """Let this process allocate at most ``more`` bytes than it has while the block runs; Linux only, elsewhere there is no limit.

    A larger allocation fails: MemoryError in Python, in native code an exception of its own or the end of the process.
    """
    held = re.search(r"^VmData:\s+(\d+) kB", STATUS.read_text(encoding="utf-8"), re.MULTILINE) if STATUS.is_file() else None
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    unlimited = {resource.RLIM_INFINITY, -1}
    most = int(held[1]) * 1024 + more if held else None
    if most is None or any(limit not in unlimited and limit < most for limit in (soft, hard)):
        yield
        return
    resource.setrlimit(resource.RLIMIT_DATA, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def leave_network() -> None:
    """Leave every network but one that is empty, where the system allows it: Linux with namespaces for users, or for root.

    The process must have one thread. Elsewhere nothing changes.
    """
    user, group = os.geteuid(), os.getegid()
    with suppress(OSError, AttributeError):
        unshare = ctypes.CDLL(None, use_errno=True).unshare
        # In a user namespace root would lose its rights to other users' files.
        if unshare(CLONE_NEWNET if user == 0 else CLONE_NEWUSER | CLONE_NEWNET) == 0 and user != 0:
            for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
                Path("/proc/self", name).write_text(text, encoding="ascii")
