# SPDX-License-Identifier: Apache-2.0
"""A child process that runs Python functions one after another, and that may crash without ending edgeferry.

Converters and runtimes are native code, and some crash (TF Lite's converter on an LSTM). Exporters and targets run theirs here;
programs that are not Python functions of edgeferry run in ``subprocesses``.
"""

import multiprocessing
import os
import re
import secrets
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from edgeferry.models.system.errors import EdgeError, missing_package
from edgeferry.models.system.process.forking import context_of
from edgeferry.models.system.process.imports import spare_scikit_learn
from edgeferry.models.system.process.limits import leave_network
from edgeferry.models.system.process.temporary import temporary_folder
from edgeferry.models.system.subprocesses import how_it_ended, kill_group, lifeline

# An idle process ends at once when its pipe closes; this is the time its libraries get for their own clean-up.
GRACE_S: Final = 5.0
# Runtimes colour their messages for a terminal.
COLOURS: Final = re.compile(r"\x1b\[[0-9;]*m")
# How long a process that is attended to waits for it.
ATTEND_S: Final = 0.01


class ChildError(Exception):
    """The function raised an unexpected exception; the message is its last line, the log holds the rest."""


class Child:
    """A process that starts at the first call, keeps its imports between calls, and starts again after a crash."""

    def __init__(self, *, network: bool = True, with_keras: bool = False) -> None:
        """Prepare a child without starting a process; without ``network`` it has none where the system allows that.

        ``with_keras`` is for one that will import Keras in any case: where the system forks safely, it has it from its start.
        """
        self._network = network
        self._with_keras = with_keras
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._lifeline = ExitStack()
        self._idle = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Return the number of its process, which is also that of its process group, or None where there is none."""
        return None if self._process is None else self._process.pid

    def is_busy(self) -> bool:
        """Return whether its process runs a function that has not returned yet."""
        return self._pipe is not None and self._process is not None and self._process.is_alive() and not self._pipe.poll()

    def start(self) -> None:
        """Start its process, if there is none."""
        self._start()

    def call(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        log: Path,
        timeout_s: float = 1800.0,
        with_state: bool = False,
        attend: Callable[[], None] | None = None,
    ) -> Any:
        """Return ``function(*arguments)``, run in the child; everything it prints is appended to ``log``.

        The function, its arguments and its result must be picklable. What is not, such as a loaded model, stays in the child:
        with ``with_state`` the function is called as ``function(state, *arguments)``, where ``state`` is a dict that lives as
        long as the process, so what one call puts there a later call finds. It is a local variable of the child's loop, so no
        module needs a global for it. ``attend`` is called again and again while the function runs.

        Raises:
            EdgeError: the function raised it.
            ChildError: the function raised anything else, the process died, or took longer than ``timeout_s`` seconds.
        """
        pipe = self._start()
        self._idle = False
        try:
            pipe.send((function, arguments, log, with_state))
            if not _answered(pipe, timeout_s, attend):
                self.stop()
                raise ChildError(f"took longer than {timeout_s:g} s and was ended; see {log}")
            outcome, value = pipe.recv()
        except (EOFError, ConnectionError):
            raise ChildError(f"the process {self._reap()}; see {log}") from None
        except KeyboardInterrupt:
            self.stop()
            raise
        self._idle = True
        if outcome == "returned":
            return value
        raise value

    def stop(self) -> None:
        """Let an idle process end by itself; kill a busy one together with every process it started."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.join(GRACE_S if self._idle else 0)
            # A process that had not yet made a group of its own had started nothing.
            if self._process.pid is not None:
                kill_group(self._process.pid)
            self._process.kill()
            self._process.join()
        self._lifeline.close()
        self._process = self._pipe = None

    def _start(self) -> Connection:
        if self._pipe is None:
            context = context_of(with_keras=self._with_keras)
            self._pipe, other_end = context.Pipe()
            process = context.Process(  # type: ignore[attr-defined] # that of a context, which typeshed has on each of them
                target=_serve, args=(other_end, dict(os.environ), temporary_folder(), self._network), daemon=True
            )
            process.start()
            # An interrupt before it was started must not find it.
            self._process = process
            # Its group is named after it. A parent that was killed could not end it.
            self._lifeline.enter_context(lifeline(process.pid or 0))
            other_end.close()
        return self._pipe

    def _reap(self) -> str:
        """Wait for a process that closed its pipe, and return how it ended."""
        status = 0
        if self._process is not None:
            self._process.join()
            status = self._process.exitcode or 0
        self.stop()
        return how_it_ended(status)


def _answered(pipe: Connection, timeout_s: float, attend: Callable[[], None] | None) -> bool:
    if attend is None:
        return pipe.poll(timeout_s)
    last = time.monotonic() + timeout_s
    while time.monotonic() < last:
        if pipe.poll(ATTEND_S):
            return True
        attend()
    return False


def call_quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)``, which uses Keras, run in a child of its own; frameworks print nothing then.

    Raises:
        EdgeError: the function raised it, or failed in another way; the message then names the file that keeps its output.
    """
    log = temporary_folder() / f"{secrets.token_hex(4)}.log"
    with Child(network=False, with_keras=True) as child:
        try:
            return child.call(function, *arguments, log=log)
        except ChildError as error:
            raise EdgeError("EF-process-failed", str(error).replace(str(log), _kept(log))) from None


def _kept(log: Path) -> str:
    """Return where a log stays when edgeferry ends."""
    handle, name = tempfile.mkstemp(prefix="edgeferry-", suffix=".log")
    os.close(handle)
    shutil.copyfile(log, name)
    return name


def _serve(
    pipe: Connection,
    environment: dict[str, str],
    temporary: Path,
    network: bool,  # noqa: FBT001 - multiprocessing passes it
) -> None:
    # Ctrl-C reaches the terminal's whole process group. This process has a group of its own, so the parent decides when it ends;
    # compilers, browsers and runtimes that it starts are in that group too.
    os.setpgid(0, 0)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():
        return
    # A fork has the environment of the process that it is a fork of.
    os.environ.update(environment)
    if not network:
        leave_network()
    # Frameworks leave files there, and programs that this process starts do.
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    spare_scikit_learn()
    state: dict[str, Any] = {}
    while True:
        try:
            function, arguments, log, with_state = pipe.recv()
        except EOFError:
            return
        _send_output_to(log)
        pipe.send(_outcome(function, (state, *arguments) if with_state else arguments))


def _outcome(function: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[str, Any]:
    try:
        return "returned", function(*arguments)
    except EdgeError as error:
        return "raised", error
    except ModuleNotFoundError as error:
        traceback.print_exc()
        return "raised", missing_package(error) or ChildError(f"{type(error).__name__}: {error}")
    except BaseException as error:  # noqa: BLE001 - the parent reports every error, SystemExit too
        traceback.print_exc()
        last_line = next((line for line in reversed(COLOURS.sub("", str(error)).splitlines()) if line.strip()), "")
        return "raised", ChildError(f"{type(error).__name__}: {last_line.strip()}")


def _send_output_to(log: Path) -> None:
    # Native code prints too, so the file descriptors are redirected, not Python's streams.
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
