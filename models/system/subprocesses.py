# SPDX-License-Identifier: Apache-2.0
"""A program of somebody else's, run until it ends, takes too long or says too much; it does not outlive us."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Final

from edgeferry.models.system.errors import EdgeError

# A log that long is a program that repeats itself; the longest search on public record says some 100 kB.
OUTPUT_BYTES: Final = 16 * 2**20
POLL_S: Final = 0.1
END_S: Final = 20.0
# Waits until its standard input closes, which it does however we end, then ends the group named, and what else there is to end.
LIFELINE: Final = 'read _; kill -s KILL -- "-$0"; exec "$@"'


@dataclass(frozen=True)
class Ended:
    """How a program ended, '' where it ended well, and everything it said, bytes that are no UTF-8 replaced."""

    how: str
    output: str


def run_tool(command: Sequence[str], folder: Path, timeout_s: float, ending: Sequence[str] = ()) -> Ended:
    """Return how a program ended in a folder; what it started itself ends with it.

    ``ending`` is the command that ends what is not below it: a container.

    Raises:
        EdgeError: it cannot be started.
    """
    with TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - the user names the program; no shell reads the arguments
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, process_group=0
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise EdgeError(f"{command[0]} cannot be run: {why}") from None
        with _lifeline(process.pid, ending):
            how = _watched(process, output, timeout_s, ending)
        output.seek(0)
        return Ended(how, output.read(OUTPUT_BYTES).decode("utf-8", "replace"))


def _watched(process: subprocess.Popen[bytes], output: IO[bytes], timeout_s: float, ending: Sequence[str]) -> str:
    last = time.monotonic() + timeout_s
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return _told(process.wait(POLL_S))
            if time.monotonic() > last:
                return f"took longer than {timeout_s:g} s and was ended"
            if os.fstat(output.fileno()).st_size > OUTPUT_BYTES:
                return f"said more than {OUTPUT_BYTES // 2**20} MiB and was ended"
    finally:
        if process.returncode is None:
            _end(ending)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _told(status: int) -> str:
    if status == 0:
        return ""
    # A shell that stands around a program tells its signal as 128 and more.
    number = -status if status < 0 else status - 128
    name = signal.Signals(number).name if number in set(signal.Signals) else None
    if status < 0:
        return f"was killed by {name or number}"
    return f"ended with status {status}" + (f" ({name})" if name else "")


def _end(command: Sequence[str]) -> None:
    if command:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=END_S, check=False)  # noqa: S603 - as above


@contextlib.contextmanager
def _lifeline(group: int, ending: Sequence[str]) -> Iterator[None]:
    # In a group of its own: whoever kills ours must not kill this.
    line = subprocess.Popen(  # noqa: S603 - as above
        ["/bin/sh", "-c", LIFELINE, str(group), *ending],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        yield
    finally:
        line.kill()
        line.communicate()
