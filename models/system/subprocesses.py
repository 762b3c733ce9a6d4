# SPDX-License-Identifier: Apache-2.0
"""Run another program until it ends, takes too long or prints too much; it never outlives edgeferry.

Python functions of edgeferry that may crash run in ``child``.
"""

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

# A program that prints more repeats itself; the longest compiler log on public record has about 100 kB.
OUTPUT_BYTES: Final = 16 * 2**20
POLL_S: Final = 0.1
STOP_S: Final = 20.0
# Waits until its standard input closes, which happens however edgeferry ends; then kills the process group $0 and runs the stop
# command given.
LIFELINE: Final = 'read _; kill -s KILL -- "-$0"; exec "$@"'


@dataclass(frozen=True)
class Ended:
    """How a program ended ('' for status 0) and everything it printed, with bytes that are not UTF-8 replaced.

    ``how`` completes a sentence about the program: 'was killed by SIGSEGV'.
    """

    how: str
    output: str


def run_tool(command: Sequence[str], folder: Path, timeout_s: float, ending: Sequence[str] = ()) -> Ended:
    """Return how a program ended that was run in a folder; every process it started ends with it.

    ``ending`` is the command that stops what is not its child process, such as a container.

    Raises:
        EdgeError: the program cannot be started.
    """
    with TemporaryFile() as output:
        try:
            process = subprocess.Popen(  # noqa: S603 - the user names the program; no shell reads the arguments
                command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, process_group=0
            )
        except (OSError, ValueError) as error:
            why = error.strerror if isinstance(error, OSError) else str(error)
            raise EdgeError("EF-program-not-started", f"{command[0]} cannot be started: {why}.") from None
        with lifeline(process.pid, ending):
            how = _wait_for(process, output, timeout_s, ending)
        output.seek(0)
        return Ended(how, output.read(OUTPUT_BYTES).decode("utf-8", "replace"))


def _wait_for(process: subprocess.Popen[bytes], output: IO[bytes], timeout_s: float, ending: Sequence[str]) -> str:
    last = time.monotonic() + timeout_s
    try:
        while True:
            with contextlib.suppress(subprocess.TimeoutExpired):
                return how_it_ended(status) if (status := process.wait(POLL_S)) else ""
            if time.monotonic() > last:
                return f"took longer than {timeout_s:g} s and was ended"
            if os.fstat(output.fileno()).st_size > OUTPUT_BYTES:
                return f"printed more than {OUTPUT_BYTES // 2**20} MiB and was ended"
    finally:
        if process.returncode is None:
            _run_quietly(ending)
        kill_group(process.pid)
        process.wait()


def how_it_ended(status: int) -> str:
    """Return a process's exit status in words, such as 'ended with status 3'; below 0 it is the signal that killed it."""
    # A shell that runs a program reports its signal as 128 plus the number.
    number = -status if status < 0 else status - 128
    name = signal.Signals(number).name if number in set(signal.Signals) else None
    if status < 0:
        return f"was killed by {name or f'signal {number}'}"
    return f"ended with status {status}" + (f" ({name})" if name else "")


def kill_group(group: int) -> None:
    """Kill every process of a process group; one that is gone is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, signal.SIGKILL)


def _run_quietly(command: Sequence[str]) -> None:
    if command:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=STOP_S, check=False)  # noqa: S603 - as above


@contextlib.contextmanager
def lifeline(group: int, ending: Sequence[str] = ()) -> Iterator[None]:
    """Kill a process group, and run the command ``ending``, when edgeferry ends while the block runs, however it ends."""
    # In a process group of its own: a signal to edgeferry's group must not reach it.
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
