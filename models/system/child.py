# SPDX-License-Identifier: Apache-2.0
"""A child process that runs functions one after another; when one kills it, that is an answer, not the end.

Converters and runtimes are native code, and some crash (TF Lite's converter on an LSTM). Both sides of the house run theirs here.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from edgeferry.models.system.errors import EdgeError, missing_package

# An idle process ends at once when its pipe closes; this is for what its libraries do at exit.
GRACE_S: Final = 5.0


class ChildError(Exception):
    """The function raised something nobody foresaw; the message is its last line, the log holds the rest."""


class Child:
    """A process that is started when first called, keeps what it imported, and is started anew after a death."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: multiprocessing.process.BaseProcess | None = None
        self._pipe: Connection | None = None
        self._idle = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def call(
        self, function: Callable[..., Any], *arguments: Any, log: Path, timeout_s: float = 1800.0, with_state: bool = False
    ) -> Any:
        """Return ``function(*arguments)`` as run in the child, everything it prints appended to ``log``.

        The function and what goes in and out must be picklable. What is not, such as a loaded model, stays in the child: with
        ``with_state`` the function is called as ``function(state, *arguments)``, where ``state`` is a dict that lives as long as
        the process, so what one call puts there a later call finds. It is a local variable of the child's loop, so no module
        needs a global for it.

        Raises:
            EdgeError: the function raised it.
            ChildError: the function raised anything else, the process died, or took longer than ``timeout_s`` seconds.
        """
        pipe = self._start()
        self._idle = False
        try:
            pipe.send((function, arguments, log, with_state))
            if not pipe.poll(timeout_s):
                self.stop()
                raise ChildError(f"took longer than {timeout_s:g} s and was ended; see {log}")
            outcome, value = pipe.recv()
        except (EOFError, ConnectionError):
            raise ChildError(f"{self._how_it_died()}; see {log}") from None
        except KeyboardInterrupt:
            self.stop()
            raise
        self._idle = True
        if outcome == "returned":
            return value
        raise value

    def stop(self) -> None:
        """Let the process end if it waits for work, and end it, with what it started itself, if it is doing some."""
        if self._pipe is not None:
            self._pipe.close()
        if self._process is not None:
            self._process.join(GRACE_S if self._idle else 0)
            _kill_group(self._process)
            self._process.kill()
            self._process.join()
        self._process = self._pipe = None

    def _start(self) -> Connection:
        if self._pipe is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
        return self._pipe

    def _how_it_died(self) -> str:
        code = 0
        if self._process is not None:
            self._process.join()
            code = self._process.exitcode or 0
        self.stop()
        if code < 0:
            return f"the process was killed by {signal.Signals(-code).name}"
        return f"the process ended with status {code}"


def _kill_group(process: multiprocessing.process.BaseProcess) -> None:
    # Compilers, browsers and runtimes that the function started are in the process's group; where it had not come so far
    # as to have one, it had started nothing.
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)


def call_quietly(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return ``function(*arguments)`` as run in a child of its own, so that what frameworks print stays off the terminal.

    Raises:
        EdgeError: the function raised it, or failed otherwise; its output is then kept in the file named.
    """
    handle, name = tempfile.mkstemp(prefix="edgeferry-", suffix=".log")
    os.close(handle)
    with Child() as child:
        try:
            answer = child.call(function, *arguments, log=Path(name))
        except ChildError as error:
            raise EdgeError(f"{error} ({name} holds what was printed)") from None
        except EdgeError:
            Path(name).unlink()
            raise
    Path(name).unlink()
    return answer


def _serve(pipe: Connection) -> None:
    # Ctrl-C reaches the terminal's whole group; in one of its own, this process ends when the parent decides.
    os.setpgid(0, 0)
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
        return "raised", missing_package(error)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the parent must hear of it
        traceback.print_exc()
        last_line = next((line for line in reversed(str(error).splitlines()) if line.strip()), "")
        return "raised", ChildError(f"{type(error).__name__}: {last_line.strip()}")


def _send_output_to(log: Path) -> None:
    # Native code prints too, so the descriptors are redirected, not Python's streams.
    log.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
